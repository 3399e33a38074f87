// SPDX-License-Identifier: Apache-2.0
// The Node package openai: ask.mjs PACKAGES ask|cut COUNT URL..., as ask.py has it.
import { createRequire } from "node:module";

const [packages, work, count, ...urls] = process.argv.slice(2);
const require = createRequire(packages + "/");
const OpenAI = require("openai");

// The fetch of Node 20 and others with an undici before 6.26, 7.26 or 8.3 takes a chunked answer that
// is cut off after "Connection: close" for complete (nodejs/undici#5273): there it needs a newer one.
const options = work === "cut" ? { fetch: require("undici").fetch } : {};

function post(client, characters, stream) {
    const messages = [{ role: "user", content: "word ".repeat(characters / 5) }];
    return client.chat.completions.create(
        { model: "llama", messages, stream: stream >= 0, max_tokens: stream === 0 ? 100000 : 3 },
        stream >= 0 ? { headers: { "X-Stream": String(stream) } } : {});
}

async function ask(client, characters, stream) {
    const answer = await post(client, characters, stream);
    if (stream < 0) {
        if (!answer.choices[0].message.content) throw new Error("no content");
        return;
    }
    let text = "";
    for await (const part of answer) text += part.choices[0]?.delta?.content ?? "";
    if (!text) throw new Error("an empty stream");
}

async function askAll(client, url) {
    let answers = 0, errors = 0, said = "";
    for (let i = 0; i < Number(count); i++)
        for (const [characters, stream] of [[1000, -1], [1000, 3], [100000, -1]])
            try {
                await ask(client, characters, stream);
                answers++;
            } catch (e) {
                errors++;
                said = `${e} ${e.cause ?? ""}`;
            }
    console.log(url, answers, errors, said);
}

async function cut(client, url) {
    let begun = false;
    try {
        for await (const _ of await post(client, 1000, 0)) {
            if (!begun) console.log(url, "begun");
            begun = true;
        }
        console.log(url, "complete");
    } catch (e) {
        console.log(url, "error", `${e}`);
    }
}

for (const url of urls) {
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0, ...options });
    await (work === "ask" ? askAll : cut)(client, url);
}
