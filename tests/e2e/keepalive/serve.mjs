// SPDX-License-Identifier: Apache-2.0
// A model server for Node's http: serve.mjs PORT. X-Stream and SERVER_NAME as in app.py.
import { createHash } from "node:crypto";
import http from "node:http";
import fs from "node:fs";

const common = { id: "x", created: 1, model: "llama" };
const whole = (content) => JSON.stringify({ ...common, object: "chat.completion",
    choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: "stop" }] });
const event = (content) => "data: " + JSON.stringify({ ...common, object: "chat.completion.chunk",
    choices: [{ index: 0, delta: { content }, finish_reason: null }] }) + "\n\n";

function stream(answer, said, count) {
    answer.writeHead(200, { "content-type": "text/event-stream" });
    let sent = 0;
    const next = () => {
        if (count && sent === count) return answer.end("data: [DONE]\n\n");
        answer.write(event(`${said} `));
        said = `word${sent++}`;
        setTimeout(next, count ? 1 : 50);
    };
    next();
}

http.createServer((request, answer) => {
    if (request.method === "GET") {
        const page = request.url === "/metrics" ? fs.readFileSync(process.env.METRICS_FILE) : "{}";
        // Not told by itself to clients of HTTP/1.0; wrk counts an answer that just ends as an error.
        answer.setHeader("content-length", page.length);
        return answer.end(page);
    }
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
        const body = Buffer.concat(parts);
        try {
            JSON.parse(body.toString());
        } catch {
            answer.writeHead(400);
            return answer.end("no JSON");
        }
        const said = `${process.env.SERVER_NAME ?? ""} ${createHash("sha256").update(body).digest("hex")}`;
        const wanted = request.headers["x-stream"];
        if (wanted) return stream(answer, said, Number(wanted));
        answer.setHeader("content-type", "application/json");
        answer.end(whole(said));
    });
}).listen(Number(process.argv[2]), "::");
