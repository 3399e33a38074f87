// SPDX-License-Identifier: Apache-2.0
// java.net.http.HttpClient as it is, so it offers h2c: Ask ask|cut COUNT URL..., or tell COUNT URL LABEL
// MODEL..., as ask.py has it.
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

class Ask {
    static final HttpClient client = HttpClient.newHttpClient();

    record Chat(int characters, int stream, String model, String session) {
        Chat(int characters, int stream) {
            this(characters, stream, "llama", "");
        }

        String body() {
            String word = session.isEmpty() ? "word " : session + "x".repeat(49 - session.length()) + " ";
            return "{\"model\": \"" + model + "\", \"messages\": [{\"role\": \"user\", \"content\": \""
                + word.repeat(characters / word.length()) + "\"}], \"max_tokens\": "
                + (stream == 0 ? 100000 : 3) + ", \"stream\": " + (stream >= 0)
                + (stream >= 0 ? ", \"stream_options\": {\"include_usage\": true}" : "") + "}";
        }
    }

    static HttpRequest request(String url, Chat chat) {
        HttpRequest.Builder b = HttpRequest.newBuilder(URI.create(url + "/v1/chat/completions"))
            .header("Content-Type", "application/json").POST(HttpRequest.BodyPublishers.ofString(chat.body()));
        if (!chat.session.isEmpty())
            b.header("X-Session-Id", chat.session);
        return (chat.stream >= 0 ? b.header("X-Stream", "" + chat.stream) : b).build();
    }

    static String ask(String url, Chat chat) throws Exception {
        HttpResponse<String> answer = client.send(request(url, chat), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200 || !answer.body().contains("\"content\"")
            || chat.stream > 0 && !answer.body().endsWith("[DONE]\n\n"))
            throw new Exception("status " + answer.statusCode() + ": " + answer.body());
        return answer.body();
    }

    static void askAll(String url, int count) {
        int[][] kinds = {{1000, -1}, {1000, 3}, {100000, -1}};
        int errors = 0;
        String said = "";
        for (int i = 0; i < count; i++)
            for (int[] kind : kinds)
                try {
                    ask(url, new Chat(kind[0], kind[1]));
                } catch (Exception e) {
                    errors++;
                    said = e.toString();
                }
        System.out.println(url + " " + (3 * count - errors) + " " + errors + " " + said);
    }

    static final int[][] KINDS = {{1000, -1}, {5000, 3}, {100000, -1}, {1000, 3}, {5000, -1}, {100000, 3}};
    static final Pattern CONTENT = Pattern.compile("\"content\": ?\"([^\"]*)\"");
    static final Pattern TOKENS = Pattern.compile("\"prompt_tokens\": ?(\\d+)");

    static String told(String text) {
        String said = "", tokens = "0";
        for (Matcher m = CONTENT.matcher(text); m.find();)
            said += m.group(1);
        for (Matcher m = TOKENS.matcher(text); m.find();)
            tokens = m.group(1);
        return tokens + " " + said;
    }

    static String digest(String text) throws Exception {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    }

    static void tell(String url, int count, String label, String[] models) {
        for (int i = 0; i < count; i++) {
            int turn = i / models.length, kind[] = KINDS[turn % KINDS.length];
            Chat chat = new Chat(kind[0], kind[1], models[i % models.length], label + "s" + turn / KINDS.length);
            String row = chat.model + " " + chat.session + " " + chat.characters + " " + Math.max(chat.stream, 0);
            try {
                String text = ask(url, chat);
                System.out.println(row + " " + digest(chat.body()) + " " + told(text));
            } catch (Exception e) {
                System.out.println(row + " error " + e.toString().replace('\n', ' '));
            }
        }
    }

    static void cut(String url) {
        try {
            InputStream in =
                client.send(request(url, new Chat(1000, 0)), HttpResponse.BodyHandlers.ofInputStream()).body();
            in.read();
            System.out.println(url + " begun");
            in.readAllBytes();
            System.out.println(url + " complete");
        } catch (Exception e) {
            System.out.println(url + " error " + e);
        }
    }

    public static void main(String[] arguments) {
        if (arguments[0].equals("tell")) {
            String[] models = Arrays.copyOfRange(arguments, 4, arguments.length);
            tell(arguments[2], Integer.parseInt(arguments[1]), arguments[3], models);
            return;
        }
        for (int i = 2; i < arguments.length; i++)
            if (arguments[0].equals("ask"))
                askAll(arguments[i], Integer.parseInt(arguments[1]));
            else
                cut(arguments[i]);
    }
}
