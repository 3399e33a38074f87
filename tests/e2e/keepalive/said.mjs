// SPDX-License-Identifier: Apache-2.0
// A server of Node's http that says which session and model it has read: said.mjs PORT.
import http from "node:http";
import fs from "node:fs";

http.createServer((request, answer) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
        if (request.url === "/metrics") return answer.end(fs.readFileSync(process.env.METRICS_FILE));
        const { rawHeaders } = request, session = [];
        for (let i = 0; i < rawHeaders.length; i += 2)
            if (rawHeaders[i].toLowerCase() === "x-session-id") session.push(rawHeaders[i + 1]);
        let model = null;
        try {
            model = JSON.parse(Buffer.concat(parts).toString()).model ?? null;
        } catch { /* none */ }
        answer.end(JSON.stringify({ session, model }));
    });
}).listen(Number(process.argv[2]), "::");
