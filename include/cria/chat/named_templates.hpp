// SPDX-License-Identifier: MIT
// chat/named_templates.hpp - templates for models whose file has none: the usual ways to write a conversation, as Jinja of our own.
//
//   chatml   <|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n           llama3   <|start_header_id|>user<|end_header_id|>\n\n{user}<|eot_id|>...
//   llama2   {bos}[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{user} [/INST]              mistral  {bos}[INST] {system}\n\n{user} [/INST]
//   zephyr   <|user|>\n{user}{eos}\n<|assistant|>\n                                 phi3     <|user|>\n{user}<|end|>\n<|assistant|>\n
//   alpaca   {system}\n\n### Instruction:\n{user}\n\n### Response:\n                 vicuna   {system} USER: {user} ASSISTANT:
//   gemma    {bos}<start_of_turn>user\n{system}\n\n{user}<end_of_turn>\n<start_of_turn>model\n
//
// None has a system message of its own. Where a family has no place for one, it goes before the first user's message. Descriptions of tools are not written.
// Errors   find_named_template: none; a message that a family has no place for, or whose content is no text, is an error when it is rendered
// Source   the publishers' model cards and templates: Qwen, Llama 2 and 3, Zephyr, TinyLlama, Mistral 7B, Alpaca, Vicuna 1.1, Gemma 1 and 2, Phi 3
#pragma once

#include <cria/core/config.hpp>

#include <array>
#include <string_view>

namespace cria::inline v0_1_0 {

/// A template that is part of cria, with what goes with it.
struct named_template {
  std::string_view name;
  std::string_view jinja;
  std::string_view end_of_turn;   ///< the text that ends a reply where the vocabulary has no token for it
  std::array<std::string_view, 3> markers = {};   ///< tokens that only vocabularies of this family have, all of them; none: it fits no vocabulary by itself
};

inline constexpr named_template named_templates[] = {
    {"chatml", R"jinja(
{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})jinja", "<|im_end|>", {"<|im_start|>", "<|im_end|>"}},

    {"llama2", R"jinja(
{%- set ns = namespace(system='') %}
{%- for m in messages %}
  {%- if m.role == 'system' and loop.first %}{% set ns.system = '<<SYS>>\n' + m.content + '\n<</SYS>>\n\n' %}
  {%- elif m.role == 'user' %}{{ bos_token }}{{ '[INST] ' + ns.system + m.content | trim + ' [/INST]' }}{% set ns.system = '' %}
  {%- elif m.role == 'assistant' %}{{ ' ' + m.content | trim + ' ' }}{{ eos_token }}
  {%- else %}{{ raise_exception('Llama 2 has no place for a message of ' + m.role) }}{% endif %}
{%- endfor %})jinja", ""},

    {"llama3", R"jinja(
{{- bos_token }}
{%- for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %})jinja",
     "<|eot_id|>", {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}},

    {"zephyr", R"jinja(
{%- for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}{{ eos_token }}{{ '\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %})jinja", ""},

    {"mistral", R"jinja(
{{- bos_token }}
{%- set ns = namespace(system='') %}
{%- for m in messages %}
  {%- if m.role == 'system' and loop.first %}{% set ns.system = m.content + '\n\n' %}
  {%- elif m.role == 'user' %}{{ '[INST] ' + ns.system + m.content + ' [/INST]' }}{% set ns.system = '' %}
  {%- elif m.role == 'assistant' %}{{ ' ' + m.content | trim }}{{ eos_token }}
  {%- else %}{{ raise_exception('Mistral has no place for a message of ' + m.role) }}{% endif %}
{%- endfor %})jinja", ""},

    {"alpaca", R"jinja(
{%- for m in messages %}
  {%- if m.role == 'system' and loop.first %}{{ m.content + '\n\n' }}
  {%- elif m.role == 'user' %}{{ '### Instruction:\n' + m.content + '\n\n' }}
  {%- elif m.role == 'assistant' %}{{ '### Response:\n' + m.content + '\n\n' }}
  {%- else %}{{ raise_exception('Alpaca has no place for a message of ' + m.role) }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '### Response:\n' }}{% endif %})jinja", "### Instruction:"},

    {"vicuna", R"jinja(
{%- for m in messages %}
  {%- if m.role == 'system' and loop.first %}{{ m.content + ' ' }}
  {%- elif m.role == 'user' %}{{ 'USER: ' + m.content + ' ' }}
  {%- elif m.role == 'assistant' %}{{ 'ASSISTANT: ' + m.content }}{{ eos_token }}
  {%- else %}{{ raise_exception('Vicuna has no place for a message of ' + m.role) }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %})jinja", ""},

    {"gemma", R"jinja(
{{- bos_token }}
{%- set ns = namespace(system='') %}
{%- for m in messages %}
  {%- if m.role == 'system' and loop.first %}{% set ns.system = m.content | trim + '\n\n' %}
  {%- elif m.role == 'user' %}{{ '<start_of_turn>user\n' + ns.system + m.content | trim + '<end_of_turn>\n' }}{% set ns.system = '' %}
  {%- elif m.role == 'assistant' %}{{ '<start_of_turn>model\n' + m.content | trim + '<end_of_turn>\n' }}
  {%- else %}{{ raise_exception('Gemma has no place for a message of ' + m.role) }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %})jinja", "<end_of_turn>", {"<start_of_turn>", "<end_of_turn>"}},

    {"phi3", R"jinja(
{%- for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %})jinja", "<|end|>", {"<|user|>", "<|assistant|>", "<|end|>"}},
};

/// Returns the template of that name, nullptr where there is none.
[[nodiscard]] constexpr const named_template* find_named_template(std::string_view name) noexcept {
  for (const named_template& t : named_templates) {
    if (t.name == name) return &t;
  }
  return nullptr;
}

}  // namespace cria::inline v0_1_0
