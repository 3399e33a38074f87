// SPDX-License-Identifier: Apache-2.0
// node ask.mjs URL COUNT: as many chat completions by the OpenAI library; prints who answered.
import { createRequire } from "node:module";

const OpenAI = createRequire(process.env.NODE_PATH + "/")("openai").default;
const [url, count] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url + "/v1", apiKey: "none", maxRetries: 0 });

for (let i = 0; i < Number(count); i++) {
  const { data, response } = await client.chat.completions
    .create(
      { model: "llama", messages: [{ role: "user", content: "Where am I?" }], max_tokens: 4 },
      { headers: { connection: "close" } },
    )
    .withResponse();
  if (!data.choices[0].message.content) throw new Error("an empty answer");
  console.log(response.headers.get("x-inference-pod"));
}
