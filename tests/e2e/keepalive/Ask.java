// SPDX-License-Identifier: Apache-2.0
// java.net.http.HttpClient as it is, so it offers h2c: Ask ask|cut COUNT URL..., as ask.py has it.
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;

class Ask {
    static final HttpClient client = HttpClient.newHttpClient();

    static HttpRequest request(String url, int characters, int stream) {
        String body = "{\"model\": \"llama\", \"max_tokens\": " + (stream == 0 ? 100000 : 3)
            + ", \"stream\": " + (stream >= 0) + ", \"messages\": [{\"role\": \"user\", \"content\": \""
            + "word ".repeat(characters / 5) + "\"}]}";
        HttpRequest.Builder b = HttpRequest.newBuilder(URI.create(url + "/v1/chat/completions"))
            .header("Content-Type", "application/json").POST(HttpRequest.BodyPublishers.ofString(body));
        return (stream >= 0 ? b.header("X-Stream", "" + stream) : b).build();
    }

    static void ask(String url, int characters, int stream) throws Exception {
        HttpResponse<String> answer =
            client.send(request(url, characters, stream), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200 || !answer.body().contains("\"content\"")
            || stream > 0 && !answer.body().endsWith("[DONE]\n\n"))
            throw new Exception("status " + answer.statusCode() + ": " + answer.body());
    }

    static void askAll(String url, int count) {
        int[][] kinds = {{1000, -1}, {1000, 3}, {100000, -1}};
        int errors = 0;
        String said = "";
        for (int i = 0; i < count; i++)
            for (int[] kind : kinds)
                try {
                    ask(url, kind[0], kind[1]);
                } catch (Exception e) {
                    errors++;
                    said = e.toString();
                }
        System.out.println(url + " " + (3 * count - errors) + " " + errors + " " + said);
    }

    static void cut(String url) {
        try {
            InputStream in =
                client.send(request(url, 1000, 0), HttpResponse.BodyHandlers.ofInputStream()).body();
            in.read();
            System.out.println(url + " begun");
            in.readAllBytes();
            System.out.println(url + " complete");
        } catch (Exception e) {
            System.out.println(url + " error " + e);
        }
    }

    public static void main(String[] arguments) {
        for (int i = 2; i < arguments.length; i++)
            if (arguments[0].equals("ask"))
                askAll(arguments[i], Integer.parseInt(arguments[1]));
            else
                cut(arguments[i]);
    }
}
