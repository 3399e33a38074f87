// SPDX-License-Identifier: Apache-2.0

// Go's net/http at both ends: `http serve PORT`, and `http ask|cut COUNT URL...` as ask.py has it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// -- the server; X-Stream as in app.py ------------------------------------------------

func choice(kind, part, said string) string {
	text, _ := json.Marshal(map[string]any{
		"id": "x", "created": 1, "model": "llama", "object": kind,
		"choices": []any{map[string]any{"index": 0, part: map[string]string{"role": "assistant", "content": said}}},
	})
	return string(text)
}

func stream(w http.ResponseWriter, count int) {
	w.Header().Set("Content-Type", "text/event-stream")
	for sent := 0; count == 0 || sent < count; sent++ {
		_, err := fmt.Fprintf(w, "data: %s\n\n", choice("chat.completion.chunk", "delta", fmt.Sprintf("word%d ", sent)))
		if err != nil {
			return
		}
		w.(http.Flusher).Flush()
		if count == 0 {
			time.Sleep(50 * time.Millisecond)
		}
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

func handle(w http.ResponseWriter, r *http.Request) {
	if r.Method == "GET" {
		if r.URL.Path == "/metrics" {
			http.ServeFile(w, r, os.Getenv("METRICS_FILE"))
		} else {
			fmt.Fprint(w, "{}")
		}
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || !json.Valid(body) {
		http.Error(w, "no JSON", 400)
		return
	}
	if wanted := r.Header.Get("X-Stream"); wanted != "" {
		count, _ := strconv.Atoi(wanted)
		stream(w, count)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, choice("chat.completion", "message", fmt.Sprintf("%d bytes", len(body))))
}

// -- the client ----------------------------------------------------------------------

func post(url string, characters, stream int) (*http.Response, error) {
	body, _ := json.Marshal(map[string]any{
		"model": "llama", "max_tokens": map[bool]int{true: 100000, false: 3}[stream == 0], "stream": stream >= 0,
		"messages": []any{map[string]string{"role": "user", "content": strings.Repeat("word ", characters/5)}},
	})
	request, err := http.NewRequest("POST", url+"/v1/chat/completions", strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.GetBody = nil // nothing is sent twice
	if stream >= 0 {
		request.Header.Set("X-Stream", strconv.Itoa(stream))
	}
	return http.DefaultClient.Do(request)
}

func ask(url string, characters, stream int) error {
	answer, err := post(url, characters, stream)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && (answer.StatusCode != 200 || !strings.Contains(string(text), `"content"`) ||
		(stream > 0 && !strings.HasSuffix(string(text), "[DONE]\n\n"))) {
		err = fmt.Errorf("status %d: %.200s", answer.StatusCode, text)
	}
	return err
}

func askAll(url string, count int) {
	said, errors := "", 0
	for i := 0; i < count; i++ {
		for _, err := range []error{ask(url, 1000, -1), ask(url, 1000, 3), ask(url, 100000, -1)} {
			if err != nil {
				errors++
				said = err.Error()
			}
		}
	}
	fmt.Println(url, 3*count-errors, errors, said)
}

func cut(url string) {
	answer, err := post(url, 1000, 0)
	if err == nil {
		lines := bufio.NewReader(answer.Body)
		_, err = lines.ReadString('\n')
		if err == nil {
			fmt.Println(url, "begun")
			_, err = io.ReadAll(lines)
		}
	}
	if err != nil {
		fmt.Println(url, "error", err)
	} else {
		fmt.Println(url, "complete")
	}
}

func main() {
	if os.Args[1] == "serve" {
		fmt.Println(http.ListenAndServe(":"+os.Args[2], http.HandlerFunc(handle)))
		os.Exit(1)
	}
	count, _ := strconv.Atoi(os.Args[2])
	for _, url := range os.Args[3:] {
		if os.Args[1] == "ask" {
			askAll(url, count)
		} else {
			cut(url)
		}
	}
}
