/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent_keys.h - what the session key `agent` stands for: the headers by which agents and clients
 * name their conversations, and then the members of a request's body that do. The first that a
 * request has counts.
 */
#ifndef PINTLE_AGENT_KEYS_H
#define PINTLE_AGENT_KEYS_H

/* X(the key, as stickiness.key has it; who sends it). The names of one conversation come before
 * those of more: a request to an MCP server is of the server's session, a user has many
 * conversations. */
#define PINTLE_AGENT_KEYS(X)                                                                       \
	X("header/x-session-affinity", "OpenCode, LangChain for Fireworks, clients of Workers AI") \
	X("header/x-dynamo-session-id", "clients of NVIDIA Dynamo")                                \
	X("header/x-claude-code-session-id", "Claude Code")                                        \
	X("header/session-id", "Codex")                                                            \
	X("header/session_id", "Codex, older versions")                                            \
	X("header/x-session-id", "OpenCode, clients of llm-d and the vLLM routers")                \
	X("header/x-grok-conv-id", "clients of xAI")                                               \
	X("header/x-litellm-session-id", "OpenHands, clients of LiteLLM")                          \
	X("header/mcp-session-id", "clients of MCP servers (Streamable HTTP)")                     \
	X("body/prompt_cache_key", "Codex, LangChain, clients of OpenAI, Mistral and xAI")         \
	X("body/conversation", "clients of OpenAI's Responses API")                                \
	X("body/conversation.id", "the same, where the conversation is an object")                 \
	X("body/session_params.session_id", "clients of the vLLM and SGLang routers")              \
	X("body/user", "clients of OpenAI's API: the end user")

#endif
