// SPDX-License-Identifier: Apache-2.0

// Go's net/http at both ends: `http serve PORT`, `http said PORT`; `http ask|cut COUNT URL...` and
// `http tell COUNT URL LABEL MODEL...` as ask.py has it.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
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

func stream(w http.ResponseWriter, said string, count int) {
	w.Header().Set("Content-Type", "text/event-stream")
	for sent := 0; count == 0 || sent < count; sent++ {
		_, err := fmt.Fprintf(w, "data: %s\n\n", choice("chat.completion.chunk", "delta", said+" "))
		said = fmt.Sprintf("word%d", sent)
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
	said := fmt.Sprintf("%s %x", os.Getenv("SERVER_NAME"), sha256.Sum256(body))
	if wanted := r.Header.Get("X-Stream"); wanted != "" {
		count, _ := strconv.Atoi(wanted)
		stream(w, said, count)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, choice("chat.completion", "message", said))
}

// Says which session and model it has read.
func said(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/metrics" {
		handle(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var asked struct {
		Model *string `json:"model"`
	}
	if json.Unmarshal(body, &asked) != nil {
		asked.Model = nil
	}
	json.NewEncoder(w).Encode(map[string]any{"session": r.Header.Values("X-Session-Id"), "model": asked.Model})
}

// -- the client ----------------------------------------------------------------------

type chat struct {
	characters, stream int
	model, session     string
}

func (c chat) body() string {
	word := "word "
	if c.session != "" {
		word = c.session + strings.Repeat("x", 49-len(c.session)) + " "
	}
	said := map[string]any{
		"model": c.model, "max_tokens": map[bool]int{true: 100000, false: 3}[c.stream == 0], "stream": c.stream >= 0,
		"messages": []any{map[string]string{"role": "user", "content": strings.Repeat(word, c.characters/len(word))}},
	}
	if c.stream >= 0 {
		said["stream_options"] = map[string]bool{"include_usage": true}
	}
	body, _ := json.Marshal(said)
	return string(body)
}

func post(url string, c chat, body string) (*http.Response, error) {
	request, err := http.NewRequest("POST", url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.GetBody = nil // nothing is sent twice
	if c.stream >= 0 {
		request.Header.Set("X-Stream", strconv.Itoa(c.stream))
	}
	if c.session != "" {
		request.Header.Set("X-Session-Id", c.session)
	}
	return http.DefaultClient.Do(request)
}

func ask(url string, c chat, body string) (string, error) {
	answer, err := post(url, c, body)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && (answer.StatusCode != 200 || !strings.Contains(string(text), `"content"`) ||
		(c.stream > 0 && !strings.HasSuffix(string(text), "[DONE]\n\n"))) {
		err = fmt.Errorf("status %d: %.200s", answer.StatusCode, text)
	}
	return string(text), err
}

func askAll(url string, count int) {
	said, errors := "", 0
	for i := 0; i < count; i++ {
		for _, c := range []chat{{1000, -1, "llama", ""}, {1000, 3, "llama", ""}, {100000, -1, "llama", ""}} {
			if _, err := ask(url, c, c.body()); err != nil {
				errors++
				said = err.Error()
			}
		}
	}
	fmt.Println(url, 3*count-errors, errors, said)
}

var (
	kinds    = [][2]int{{1000, -1}, {5000, 3}, {100000, -1}, {1000, 3}, {5000, -1}, {100000, 3}}
	contents = regexp.MustCompile(`"content": ?"([^"]*)"`)
	prompts  = regexp.MustCompile(`"prompt_tokens": ?(\d+)`)
)

func told(text string) string {
	said, tokens := "", "0"
	for _, found := range contents.FindAllStringSubmatch(text, -1) {
		said += found[1]
	}
	for _, found := range prompts.FindAllStringSubmatch(text, -1) {
		tokens = found[1]
	}
	return tokens + " " + said
}

func tell(url string, count int, label string, models []string) {
	for i := 0; i < count; i++ {
		turn := i / len(models)
		kind, session := kinds[turn%len(kinds)], fmt.Sprintf("%ss%d", label, turn/len(kinds))
		c := chat{kind[0], kind[1], models[i%len(models)], session}
		body := c.body()
		text, err := ask(url, c, body)
		fmt.Print(c.model, " ", c.session, " ", c.characters, " ", map[bool]int{true: c.stream}[c.stream > 0], " ")
		if err != nil {
			fmt.Printf("error %q\n", err)
		} else {
			fmt.Printf("%x %s\n", sha256.Sum256([]byte(body)), told(text))
		}
	}
}

func cut(url string) {
	c := chat{1000, 0, "llama", ""}
	answer, err := post(url, c, c.body())
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
	if os.Args[1] == "serve" || os.Args[1] == "said" {
		handler := map[string]http.HandlerFunc{"serve": handle, "said": said}[os.Args[1]]
		fmt.Println(http.ListenAndServe(":"+os.Args[2], handler))
		os.Exit(1)
	}
	count, _ := strconv.Atoi(os.Args[2])
	if os.Args[1] == "tell" {
		tell(os.Args[3], count, os.Args[4], os.Args[5:])
		return
	}
	for _, url := range os.Args[3:] {
		if os.Args[1] == "ask" {
			askAll(url, count)
		} else {
			cut(url)
		}
	}
}
