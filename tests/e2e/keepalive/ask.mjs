// SPDX-License-Identifier: Apache-2.0
// The Node package openai: ask.mjs PACKAGES ask|cut COUNT URL..., or tell COUNT URL LABEL MODEL..., as
// ask.py has it.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";

const [packages, work, count, ...urls] = process.argv.slice(2);
const require = createRequire(packages + "/");
const OpenAI = require("openai");

// The fetch of Node 20 and others with an undici before 6.26, 7.26 or 8.3 takes a chunked answer that
// is cut off after "Connection: close" for complete (nodejs/undici#5273): there it needs a newer one.
const underneath = work === "cut" ? require("undici").fetch : fetch;

let sent = ""; // the body of the request that was made last
function noting(url, options) {
    sent = options.body;
    return underneath(url, options);
}

function post(client, { characters, stream, model = "llama", session = "" }) {
    const word = session ? session.padEnd(49, "x") + " " : "word ";
    const messages = [{ role: "user", content: word.repeat(characters / word.length) }];
    const headers = { ...(stream >= 0 && { "X-Stream": String(stream) }),
                      ...(session && { "X-Session-Id": session }) };
    return client.chat.completions.create(
        { model, messages, stream: stream >= 0, max_tokens: stream === 0 ? 100000 : 3,
          ...(stream >= 0 && { stream_options: { include_usage: true } }) }, { headers });
}

async function ask(client, chat) {
    const answer = await post(client, chat);
    let said = "", tokens = 0;
    for await (const part of chat.stream < 0 ? [answer] : answer) {
        said += (part.choices[0]?.message ?? part.choices[0]?.delta)?.content ?? "";
        tokens = part.usage?.prompt_tokens ?? tokens;
    }
    if (!said) throw new Error("no content");
    return { said, tokens };
}

async function askAll(client, url) {
    let answers = 0, errors = 0, said = "";
    for (let i = 0; i < Number(count); i++)
        for (const [characters, stream] of [[1000, -1], [1000, 3], [100000, -1]])
            try {
                await ask(client, { characters, stream });
                answers++;
            } catch (e) {
                errors++;
                said = `${e} ${e.cause ?? ""}`;
            }
    console.log(url, answers, errors, said);
}

async function tell(client, label, models) {
    const kinds = [[1000, -1], [5000, 3], [100000, -1], [1000, 3], [5000, -1], [100000, 3]];
    for (let i = 0; i < Number(count); i++) {
        const turn = Math.floor(i / models.length);
        const [characters, stream] = kinds[turn % kinds.length];
        const model = models[i % models.length], session = `${label}s${Math.floor(turn / kinds.length)}`;
        const row = [model, session, characters, Math.max(stream, 0)];
        try {
            const { said, tokens } = await ask(client, { characters, stream, model, session });
            console.log(...row, createHash("sha256").update(sent).digest("hex"), tokens, said);
        } catch (e) {
            console.log(...row, "error", `${e} ${e.cause ?? ""}`.replaceAll("\n", " "));
        }
    }
}

async function cut(client, url) {
    let begun = false;
    try {
        for await (const _ of await post(client, { characters: 1000, stream: 0 })) {
            if (!begun) console.log(url, "begun");
            begun = true;
        }
        console.log(url, "complete");
    } catch (e) {
        console.log(url, "error", `${e}`);
    }
}

const [first, ...more] = urls;
for (const url of work === "tell" ? [first] : urls) {
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0, fetch: noting });
    if (work === "tell") await tell(client, more[0], more.slice(1));
    else await (work === "ask" ? askAll : cut)(client, url);
}
