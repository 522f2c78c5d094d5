#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/chat/templates/expected.json: what jinja2 makes of the templates below, set up as Hugging Face's transformers sets it up; and named.json:
what it makes of conversations with the templates of chat/named_templates.hpp and of templates/*.jinja.

    python3 -m venv venv && venv/bin/pip install jinja2==3.1.6 && venv/bin/python tests/chat/make_expected.py

All templates here are our own. An error is written as the name of its Python class.
"""
import datetime
import json
import os
import platform
import re

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    """The tag that transformers adds to mark what the model says; it renders its body."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("render_body"), [], [], body).set_lineno(line)

    def render_body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


NOW = datetime.datetime(2024, 7, 9, 13, 5, 7)
ENVIRONMENT = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
ENVIRONMENT.filters["tojson"] = tojson
ENVIRONMENT.globals["raise_exception"] = raise_exception
ENVIRONMENT.globals["strftime_now"] = NOW.strftime

CONTEXT = {
    "yes": True, "no": False, "nothing": None, "zero": 0, "three": 3, "minus": -7, "half": 0.5, "big": 123456789012345678901234567890,
    "empty": "", "name": "Ada", "text": "  Hello, World!  ", "lines": "one\ntwo\r\nthree\n\nfive", "quote": "it's \"so\"", "html": "<b>&'\"</b>",
    "words": "the quick  brown\tfox", "uni": "Grüße, 日本 😀 ΑΣΣ", "numbers": [3, 1, 2], "mixed": [1, "a", None, True, 2.5, [1], {"k": "v"}],
    "names": ["bob", "Alice", "bob", "carol"], "none_list": [],
    "d": {"b": 1, "a": 2, "items": 3, "C": 4}, "nested": {"x": {"y": [10, 20, {"z": "deep"}]}},
    "people": [{"name": "Zoe", "age": 30, "city": {"n": "Rome"}}, {"name": "adam", "age": 25, "city": {"n": "Oslo"}}, {"name": "Bea", "age": 30}],
    "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi <|end|>"}, {"role": "assistant", "content": "Hello!"}],
    "tool": {"type": "function", "function": {"name": "f", "description": "Does <f> & \"g\" é",
                                              "parameters": {"type": "object", "properties": {}, "required": []}}},
}

CASES = {
    "data and white space": [
        "{% raw %}", "a {% raw %}\n", "a \n {%- raw -%} \n", "a {#", "a {#\n", "a {#-", "a {# ", "{% raw %} ",
        "", "plain", "a\n", "a\n\n", "a\r\nb\rc", "{{ 1 }}\n", "{{ 1 }}\n{{ 2 }}\n", "a {% if yes %} b {% endif %} c",
        "a\n  {% if yes %}\n  b\n  {% endif %}\nc", "a\n  {%+ if yes %}\n  b\n  {%- endif +%}\nc", "a  {%- if yes -%}  b  {%- endif -%}  c",
        "a\n\n {{- 1 -}} \n\n b", "a {{+ 1 }} b", "x\n   {# note #}\ny", "x {#- note -#} y", "x {#+ note +#}\ny", "{# a {{ b }} {% c %} #}z", "{#-#}z",
        "{% raw %}{{ x }} {% if %} {# c #}{% endraw %}", "a\n  {% raw %}\n  b\n  {% endraw %}\nc", "a {%- raw -%}  b  {%- endraw -%} c",
        "{% raw %}\n{% endraw +%}\n|", "\t{% set x = 1 %}\n\t|{{ x }}|", "{%set x=1%}{{x}}", "{% if yes %}\n\n\na\n\n\n{% endif %}\n\n\nb",
        "  {% if yes %}a{% endif %}", "b{% if yes %}\n  {% endif %}|", "\u00a0 {%- if yes -%} \u2003 x {%- endif %}", "{ {x} } {%",
        "{{ '{{' }} {{ '%}' }} {{ \"}}\" }}", "{{ {'a': {'b': 1}} }}", "{{ {} }}", "{% for i in [1, 2] %}\n  {{ i }}\n{% endfor %}\n",
        "{%- for i in [1, 2] %}\n  - {{ i }}\n{%- endfor %}\n", "{{ 1 }}{{ 2 }} {{ 3 }}", "a{% if yes %}\nb\n{% endif %}\n\nc", "}} %} #} {",
    ],
    "syntax errors": [
        "{{", "{{ }}", "{{ 1 + }}", "{% if %}x{% endif %}", "{% if yes %}", "{% endif %}", "{% foo %}", "{% for x in %}{% endfor %}", "{% for x %}{% endfor %}",
        "{{ (1 }}", "{{ 1) }}", "{{ [1, 2 }}", "{{ 'abc }}", "{# abc", "{% raw %}abc", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% set x.y.z = 1 %}",
        "{% macro %}{% endmacro %}", "{% macro m(a=1, b) %}{% endmacro %}", "{{ x is }}", "{{ x | }}", "{{ x is defined is none }}", "{{ nofilter | foo }}",
        "{{ x is foo }}", "{% break %}", "{% for i in [1] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "{% call 5 %}{% endcall %}",
        "{{ f(a=1, 2) }}", "{{ 'a' 'b' 5 }}", "{% else %}", "{% if yes %}{% else %}{% elif no %}{% endif %}", "{{ a b }}", "{% set x %}",
        "{% for loop in [1] %}{% endfor %}", "{% for x in [1] %}{% set loop = 1 %}{% endfor %}", "{{ ? }}", "{{ a.'b' }}", "{{ a..b }}",
        "{% if yes %}{% endfor %}", "{{ 1 if }}", "{{ not }}", "{{ 0123 }}", "{{ '\\x4' }}", "{{ '\\u12' }}", "{{ *x }}", "{{ [1 2] }}", "{{ {1} }}",
        "{{ {1: } }}", "{% filter %}{% endfilter %}", "{% macro m(a, a) %}{% endmacro %}", "{{ f(**a, *b) }}", "{% for a.b in [1] %}{% endfor %}",
        "{{ f(a=1, a=2) }}",
    ],
    "literals": [
        "{{ 1 }} {{ -1 }} {{ +1 }} {{ 1_000 }} {{ 0x1F }} {{ 0o17 }} {{ 0b101 }} {{ 00 }}",
        "{{ 1.5 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 1E+20 }} {{ 100000000000000000000.0 }} {{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }}",
        "{{ 'a' }}{{ \"b\" }}{{ 'it\\'s' }}{{ \"\\\"\" }}", "{{ 'a\\nb\\tc\\\\d' }}", "{{ '\\x41\\u00e9\\U0001F600\\101\\0' | length }}", "{{ 'a' 'b' \"c\" }}",
        "{{ '\\q\\%' }}", "{{ 'line\\\ncontinued' }}", "{{ 'multi\nline' }}", "{{ true }} {{ True }} {{ false }} {{ False }} {{ none }} {{ None }}",
        "{{ [] }} {{ [1] }} {{ [1, 'a', 2.5, none, true] }} {{ [1, 2,] }}", "{{ () }} {{ (1,) }} {{ (1, 2) }} {{ 1, 2 }}",
        "{{ {} }} {{ {'a': 1, 'b': [2]} }} {{ {1: 'x', 'y': none,} }}", "{{ {'a': 1, 'a': 2} }}", "{{ {1: 'a', true: 'b', 1.0: 'c'} }}", "{{ {[1]: 2} }}",
        "{{ (1) }} {{ ((1, 2), 3) }}", "{{ 'ünïcode 日本 😀' }}", "{{ \"don't\" }} {{ ['don\\'t', 'say \"x\"', 'both \\' and \"'] }}",
        "{{ ['\\n\\t\\r\\\\', '\\x01\\x7f', '\\u200b\\xa0', 'é😀'] }}", "{{ 1.0 }} {{ 1e300 * 1e10 }} {{ -0.0 }}", "{{ 9223372036854775807 }}",
        "{{ big }} {{ [big] }} {{ big == big }}", "{{ 'a\\rb' | length }}",
        "{{ 0.1 + 0.2 }} {{ 1/3 }} {{ 2/1 }} {{ 1e22 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }}",
    ],
    "operators": [
        "{{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7 / 2 }}",
        "{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 10 - 2 - 3 }} {{ 2 * 3 % 4 }}",
        "{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 1.5 + 1 }} {{ true + 1 }} {{ true * 3 }} {{ 0.5 ** 2 }} {{ 4 ** 0.5 }}", "{{ 1 / 0 }}", "{{ 1 % 0 }}",
        "{{ 1 // 0 }}", "{{ 1.0 / 0 }}", "{{ 0 ** -1 }}",
        "{{ 'a' + 'b' }} {{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ 'a' * 0 }} {{ 'a' * -1 }}|{{ [1] + [2] }} {{ [1] * 2 }} {{ (1,) + (2,) }}", "{{ 'a' + 1 }}",
        "{{ 1 + 'a' }}", "{{ [1] + (2,) }}", "{{ none + 1 }}", "{{ 'a' - 'b' }}", "{{ {} + {} }}", "{{ 'a' ~ 1 ~ none ~ true ~ 2.5 ~ [1] ~ missing }}",
        "{{ 1 ~ 2 + 3 }}", "{{ 1 + 2 ~ 3 }}",
        "{{ 1 == 1.0 }} {{ 1 == true }} {{ '1' == 1 }} {{ none == none }} {{ [1, 2] == [1, 2] }} {{ (1,) == [1] }} {{ {'a': 1} == {'a': 1.0} }}",
        ("{{ 1 != 2 }} {{ 'a' != 'a' }} {{ 1 < 2 }} {{ 2 <= 2 }} {{ 'a' < 'b' }} {{ 'B' < 'a' }} {{ [1, 2] < [1, 3] }} {{ [1] < [1, 0] }} "
         "{{ (1, 2) >= (1, 2) }}"),
        "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1 != 2 }}", "{{ 1 < 'a' }}", "{{ none < 1 }}", "{{ [1] < ['a'] }}",
        ("{{ 1 in [1, 2] }} {{ 'a' in 'abc' }} {{ 'x' not in 'abc' }} {{ 'b' in d }} {{ 1 in (2, 3) }} {{ '' in 'a' }} {{ 'a' in missing }} "
         "{{ none in [none] }}"),
        "{{ 1 in 'abc' }}", "{{ 1 in 5 }}", "{{ 'a' in none }}", "{{ missing in 'abc' }}", "{{ missing in [1] }} {{ missing in d }}",
        ("{{ true and false }} {{ true or false }} {{ not true }} {{ 1 and 2 }} {{ 0 or 'x' }} {{ '' or [] }} {{ 0 and missing.x }} {{ not 0 }} "
         "{{ not not 'a' }}"),
        "{{ not 1 == 2 }} {{ not 'a' in 'abc' }} {{ 1 if 0 or 1 and 0 else 2 }}",
        "{{ 'a' if yes else 'b' }} {{ 'a' if no }}| {{ 'a' if no else 'b' if no else 'c' }} {{ ('a' if yes) ~ 'x' }}", "{{ (1 if no).x }}",
        "{{ -three }} {{ +three }} {{ - - three }} {{ -half }} {{ -true }}", "{{ -'a' }}", "{{ 10 ** 18 * 9 }}", "{{ -9223372036854775807 - 1 }}",
        ("{{ 1 if [] else 2 }}{{ 1 if {} else 2 }}{{ 1 if '' else 2 }}{{ 1 if 0.0 else 2 }}{{ 1 if none else 2 }}{{ 1 if missing else 2 }}"
         "{{ 1 if ' ' else 2 }}{{ 1 if range(0) else 2 }}{{ 1 if (0,) else 2 }}"),
        "{{ 9007199254740993 == 9007199254740992.0 }} {{ 9007199254740993 > 9007199254740992.0 }} {{ 3 > 2.5 }} {{ -3 < -2.5 }} {{ 2 <= 2.0 }}",
        "{{ 'a' % 1 }}", "{{ missing + 1 }}", "{{ 1 + missing }}", "{{ missing == missing }} {{ missing == 1 }} {{ missing != none }}", "{{ missing < 1 }}",
        "{{ range(3) == range(0, 3) }} {{ range(0) == range(5, 5) }} {{ range(3) == [0, 1, 2] }}",
        "{{ 1.5 // 0.5 }} {{ 5 // 2.0 }} {{ -5 // 2.0 }} {{ 1e20 // 3 }} {{ 0.0 // 5 }}",
    ],
    "attributes, items and slices": [
        ("{% set r = range(-9223372036854775807 - 1, 9223372036854775807, 9223372036854775807) %}{{ r | list }} {{ r[2] }} {{ r[-3] }} {{ r[::2] | list }} "
         "{{ r[::-2] | list }} {{ r[::-1][0] }} {{ r[::2][1] }} {{ r | last }} {{ r[-9223372036854775807 - 1:9223372036854775807] | list }}"),
        "{{ nested.x.y[2].z }} {{ nested['x']['y'][0] }} {{ nested.x.y.1 }} {{ nested.x['y'].2.z }}",
        "{{ d['items'] }} {{ d.b }} {{ d.missing }}|{{ d['missing'] }}|", "{{ d.missing.x }}", "{{ missing }}|{{ missing.x }}", "{{ missing['x'] }}",
        "{{ none.x }}|{{ (1).x }}|{{ 'a'.nope }}|", "{{ numbers[0] }} {{ numbers[-1] }} {{ numbers[5] }}| {{ numbers['x'] }}| {{ numbers[1.0] }}|",
        "{{ 'abc'[0] }} {{ 'abc'[-1] }} {{ 'abc'[9] }}| {{ uni[1] }} {{ uni[7] }} {{ uni[-1] }} {{ uni[10] }}",
        "{{ (1, 2)[1] }} {{ range(5, 10)[2] }} {{ range(5)[-1] }} {{ range(5)[9] }}|",
        ("{{ numbers[:2] }} {{ numbers[1:] }} {{ numbers[:] }} {{ numbers[::-1] }} {{ numbers[::2] }} {{ numbers[-2:] }} {{ numbers[5:] }} "
         "{{ numbers[2:0:-1] }} {{ numbers[:-1] }} {{ numbers[-9:9] }}"),
        "{{ 'abcdef'[1:4] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[::-2] }} {{ 'abcdef'[4:1:-1] }} {{ uni[::-1] }} {{ uni[7:9] }} {{ 'abc'[none:2] }}",
        "{{ (1, 2, 3)[1:] }} {{ range(10)[2:8:2] }} {{ range(10)[::-1] }} {{ range(10)[::-3] | list }}", "{{ numbers[::0] }}", "{{ numbers['a':] }}",
        "{{ d[:1] }}", "{{ nothing[:1] }}", "{{ missing[:1] }}", "{{ 5[0] }}|",
        "{{ d.get('b') }} {{ d.get('zz') }} {{ d.get('zz', 'dflt') }} {{ d.keys() }} {{ d.values() }} {{ d.items() }}",
        "{{ d.keys() | list }} {{ d.values() | list | sort }} {{ d.items() | list }}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
        "{{ d.pop('b') }}", "{{ numbers.append(1) }}", "{{ numbers.append }}|", "{{ d.update({}) }}", "{{ d.clear }}|{{ d.setdefault is defined }}",
        "{{ numbers.index(1) }} {{ numbers.count(3) }} {{ (1, 1, 2).count(1) }} {{ (5, 6).index(6) }}", "{{ numbers.index(99) }}",
        "{{ d.copy() }} {{ numbers.copy() }}", "{{ d['get'] is callable }} {{ 'x'['upper']() }}",
        "{{ messages[0]['role'] }} {{ messages[-1].content }} {{ messages[1:][0].role }} {{ messages[9] is defined }}", "{{ d[[1]] }}|", "{{ d.get([1]) }}",
        "{{ {1: 'one'}[1] }} {{ {1: 'one'}[true] }} {{ {none: 'n'}[none] }} {{ {(1, 2): 't'}[(1, 2)] }}", "{{ d.keys()[0] }}|",
        "{{ d.items() | length }} {{ d.values() | first }} {{ 'b' in d.keys() }} {{ ('b', 1) in d.items() }}", "{{ name.upper(1) }}", "{{ 5() }}",
        "{{ missing() }}", "{{ none() }}", "{{ d.nope() }}", "{{ name['x'] }}|{{ name.x is defined }}",
    ],
    "undefined": [
        ("{{ 'name: %s' % missing }}|{{ 'abc' % missing }}|{{ '%5s' % missing }}|{{ '%r' % missing }}|{{ '%s-%s' % (missing, 1) }}"
         "|{{ ('<%s>' | e) % missing }}"),
        "{{ '%d' % missing }}", "{{ '%(x)s' % missing }}", "{{ '%s %s' % missing }}", "{{ missing % 'a' }}",
        "{{ missing }}|{{ missing is defined }}|{{ missing is undefined }}|{{ missing is none }}", "{% if missing %}a{% else %}b{% endif %}",
        "{% for x in missing %}a{% else %}b{% endfor %}",
        ("{{ missing | default('x') }} {{ missing | d('y') }} {{ '' | default('z') }}| {{ '' | default('z', true) }} {{ none | default('w') }} "
         "{{ none | default('w', boolean=true) }} {{ missing | default }}|"),
        "{{ missing | length }} {{ missing | list }} {{ missing | join(',') }}| {{ missing | upper }}|{{ missing | string }}|{{ missing | trim }}|",
        ("{{ missing is string }} {{ missing is iterable }} {{ missing is sequence }} {{ missing is mapping }} {{ missing is number }} "
         "{{ missing is callable }}"),
        "{{ [missing] }} {{ {'a': missing} }}", "{{ missing | int }}", "{{ missing | tojson }}", "{{ missing | float }}",
        "{{ missing | first }}|{{ missing | last }}|", "{{ missing | items | list }}", "{{ missing ~ 'x' }}",
        "{{ messages[0].tool_calls is defined }} {{ messages[0].tool_calls is none }} {{ messages[0].get('tool_calls') is none }}",
        "{{ missing.x is defined }}", "{{ missing | replace('a', 'b') }}|", "{{ missing | abs }}", "{{ missing is eq missing }}",
        "{{ loop }}|{{ loop is defined }}", "{{ missing | map('upper') | list }} {{ missing | select | list }}",
        "{{ missing | sort }} {{ missing | unique | list }} {{ missing | sum }} {{ missing | min }}|", "{{ missing is in [1] }}",
        "{{ missing is true }} {{ missing is false }} {{ missing is boolean }}", "{{ missing is divisibleby 2 }}", "{{ missing | indent }}",
    ],
    "tests": [
        ("{{ 3 is odd }} {{ 4 is odd }} {{ 3 is even }} {{ 4 is even }} {{ -3 is odd }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} "
         "{{ 2.0 is even }}"),
        "{{ none is none }} {{ 0 is none }} {{ 'a' is string }} {{ 1 is string }} {{ d is mapping }} {{ numbers is mapping }}",
        ("{{ 1 is number }} {{ 1.5 is number }} {{ true is number }} {{ '1' is number }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is integer }} "
         "{{ 1.0 is float }} {{ 1 is float }} {{ big is integer }} {{ big is number }}"),
        "{{ true is boolean }} {{ 1 is boolean }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }}",
        "{{ 'a' is iterable }} {{ 1 is iterable }} {{ d is iterable }} {{ numbers is iterable }} {{ none is iterable }} {{ range(3) is iterable }}",
        ("{{ 'a' is sequence }} {{ d is sequence }} {{ numbers is sequence }} {{ 1 is sequence }} {{ none is sequence }} {{ (1,) is sequence }} "
         "{{ range(3) is sequence }} {{ d.items() is sequence }}"),
        ("{{ 1 is eq 1 }} {{ 1 is equalto(1) }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 1 is lessthan 2 }} {{ 2 is gt 1 }} {{ 2 is greaterthan(1) }} "
         "{{ 1 is ge 1 }} {{ 1 is le 0 }} {{ 1 is == 1 }}"),
        "{{ 1 is in [1, 2] }} {{ 'a' is in 'abc' }} {{ 1 is not in [1] }}", "{{ 'abc' is lower }} {{ 'aBc' is lower }} {{ 'ABC' is upper }} {{ '1' is upper }}",
        "{{ raise_exception is callable }} {{ 'a' is callable }} {{ range is callable }} {{ namespace is callable }}",
        "{{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ 'nope' is test }}",
        "{{ none is sameas none }} {{ true is sameas true }} {{ 1 is sameas true }} {{ numbers is sameas numbers }}",
        "{{ 'a' is escaped }} {{ ('a' | safe) is escaped }}",
        "{{ 1 is not string }} {{ not 1 is string }} {{ 1 is defined and 2 is even }} {{ 'x' if 1 is defined else 'y' }}", "{{ 'a' is odd }}",
        "{{ none is even }}", "{{ 1 is divisibleby 0 }}", "{{ 1 is in 5 }}", "{{ 1 is lt 'a' }}", "{{ 1 is divisibleby }}", "{{ 1 is odd(2) }}",
        "{{ 'a' is string and 'b' }}", "{{ name is defined | string }}", "{% if no %}{{ 1 is foo }}{% endif %}ok", "{% if yes %}{{ 1 is foo }}{% endif %}",
        "{% if no %}{{ 1 | foo }}{% endif %}ok", "{{ (1 | foo) if no else 'ok' }}", "{{ (1 | foo) if yes }}",
        "{% if yes %}{% for x in [1] %}{{ x | foo }}{% endfor %}{% endif %}",
    ],
    "set and scopes": [
        "{% set x = 1 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set (x, y) = [1, 2] %}{{ x }}{{ y }}", "{% set x = 1, 2 %}{{ x }}",
        "{% set x, = [1] %}{{ x }}", "{% set x, y = [1] %}", "{% set x, y = 5 %}", "{% set a, (b, c) = 1, (2, 3) %}{{ a }}{{ b }}{{ c }}",
        "{% set a, b = 'xy' %}{{ b }}{{ a }}", "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + i %}{{ x }};{% endfor %}{{ x }}",
        "{% set x = 1 %}{% if yes %}{% set x = 2 %}{% endif %}{{ x }}", "{% if no %}{% set name = 'no' %}{% endif %}{{ name }}",
        "{% if no %}{% set fresh = 1 %}{% endif %}{{ fresh }}|{{ fresh is defined }}", "{% for i in [1] %}{% set y = i %}{% endfor %}{{ y }}|",
        "{{ name }}{% set name = 'Bob' %}{{ name }}", "{% for i in [1] %}{{ name }}{% endfor %}{% set name = 'Bob' %}{{ name }}",
        "{% for i in [1, 2] %}{{ name }}{% set name = i %}{{ name }}{% endfor %}{{ name }}", "{% set name = name ~ '!' %}{{ name }}",
        "{% for i in [1] %}{% if yes %}{% set name = 'in' %}{% endif %}{{ name }}{% endfor %}{{ name }}",
        "{% set ns = namespace(n=0, s='x') %}{% for i in numbers %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}{{ ns.s }}{{ ns.zz }}|",
        "{% set ns = namespace() %}{% set ns.a = 1 %}{% set ns.b = 2 %}{% set ns.c = 3 %}{% set ns.d = 4 %}{% set ns.e = 5 %}{{ ns.a + ns.e }} {{ ns }}",
        "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns['b'] }}", "{% set ns = namespace(x=1) %}{% set ns.x, y = 5, 6 %}{{ ns.x }}{{ y }}",
        "{% set ns = {} %}{% set ns.x = 1 %}", "{% set missing.x = 1 %}", "{% set ns = namespace() %}{% set ns.f = ns %}{{ ns.f.f.f is defined }}",
        "{% set x %}a{{ name }}b{% endset %}[{{ x }}]", "{% set x | upper | replace('A', '4') %}a{{ name }}{% endset %}{{ x }}",
        "{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}{{ y }}|", "{% set x %}{% for i in [1, 2] %}{{ i }}{% endfor %}{% endset %}{{ x }}",
        "{% set x %}\n  a\n{% endset %}[{{ x }}]", "{% set ns = namespace() %}{% set ns.t %}abc{% endset %}{{ ns.t }}",
        "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set c = 3 %}{% endwith %}{{ a }}|{{ c }}|", "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}|",
        "{% set a = 1 %}{% with a = a + 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with name = 'x' %}{{ name }}{% endwith %}{{ name }}",
        "{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}", "{% macro m() %}{{ later }}{% endmacro %}{% set later = 5 %}{{ m() }}",
        "{% for i in [1, 2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}",
        "{% set x = 1 %}{% for i in [1, 2] %}{% for j in [1, 2] %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }};{% endfor %}",
        "{% if yes %}{% set a = 1 %}{% elif no %}{% set a = 2 %}{% else %}{% set a = 3 %}{% endif %}{{ a }}",
        "{% if no %}{% set a = 1 %}{% elif yes %}{{ a }}|{% set b = 2 %}{% endif %}{{ a }}|{{ b }}",
        "{% set first_system = messages[0] %}{% set messages = messages[1:] %}{{ first_system.role }} {{ messages | length }}", "{% set x = x %}{{ x }}|",
        "{% set range = 5 %}{{ range }}", "{% print 1, 'a', name %}", "{% set x = 5 if no %}{{ x }}|{{ x is defined }}",
        "{% generation %}a{% set g = 1 %}{{ g }}{% endgeneration %}{{ g }}|",
        "{% for m in messages %}{% generation %}{{ m.role }}{{ loop.index }}{% endgeneration %};{% endfor %}",
    ],
    "if": [
        "{% if yes %}a{% endif %}", "{% if no %}a{% else %}b{% endif %}", "{% if no %}a{% elif yes %}b{% else %}c{% endif %}",
        "{% if no %}a{% elif no %}b{% elif three == 3 %}c{% endif %}", "{% if no %}a{% elif no %}b{% endif %}|", "{% if yes and not no %}a{% endif %}",
        "{% if name == 'Ada' and messages | length > 2 %}a{% endif %}", "{% if messages[0]['role'] == 'system' %}{{ messages[0].content }}{% endif %}",
        "{% if yes: %}a{% endif %}", "{% if no, %}a{% endif %}|", "{% if yes %}{% if no %}a{% else %}{% if yes %}b{% endif %}{% endif %}{% endif %}",
        "{% if missing is defined and missing.x %}a{% else %}b{% endif %}", "{% if not missing %}a{% endif %}",
        "{% if (message['role'] == 'user') != (1 % 2 == 0) %}{% endif %}", "{% if 'a' in name or 'A' in name %}y{% endif %}",
    ],
    "for": [
        "{% for x in numbers %}{{ x }}{% endfor %}", "{% for x in [] %}a{% else %}b{% endfor %}", "{% for x in [1] %}a{% else %}b{% endfor %}",
        "{% for k in d %}{{ k }},{% endfor %}", "{% for c in 'añ😀' %}[{{ c }}]{% endfor %}", "{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }};{% endfor %}",
        "{% for (a, (b, c)) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [1] %}{% endfor %}",
        "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for x in none %}{% endfor %}",
        ("{% for x in numbers %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}"
         " {% endfor %}"),
        "{% for x in numbers %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
        "{% for x in numbers %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}",
        "{% for x in numbers %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }} {% endfor %}",
        "{% for x in [1] %}{{ loop.cycle() }}{% endfor %}", "{% for x in numbers %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}",
        "{% for x in numbers if x > 1 %}{{ x }}:{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% endfor %}",
        "{% for x in numbers if x > 5 %}a{% else %}none{% endfor %}",
        "{% for m in messages if m.role != 'system' %}{{ m.role }}{% if not loop.last %},{% endif %}{% endfor %}",
        "{% for x in numbers if loop %}{{ x }}{% else %}none{% endfor %}",
        "{% set ns = namespace(f=false) %}{% for x in [1, 2, 3] if not ns.f %}{{ x }}{% if x == 2 %}{% set ns.f = true %}{% endif %}{% endfor %}",
        ("{% set ns = namespace(f=false) %}{% for x in [1, 2, 3] if not ns.f %}{{ x }}{{ loop.last }}{% if x == 2 %}{% set ns.f = true %}{% endif %}"
         "{% endfor %}"),
        "{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
        "{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in [1, 2] %}{% break %}{% else %}else{% endfor %}",
        "{% for x in [1, 2] %}{% continue %}{% else %}else{% endfor %}", "{% for x in [1, 2] %}{% if x == 2 %}{% break %}{% endif %}{% else %}else{% endfor %}",
        "{% for x in [1, 2] %}{% for y in [1, 2, 3] %}{% if y == 2 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}",
        "{% for x in [1, 2] %}{% for y in [] %}{% else %}{% break %}{% endfor %}{{ x }}{% endfor %}|",
        "{% for x in [1, 2, 3] %}{% filter upper %}a{% if x == 2 %}{% break %}{% endif %}b{% endfilter %}{% endfor %}",
        ("{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}@{{ loop.depth }}{% endif %}{% if not loop.last %}"
         ",{% endif %}{% endfor %}"),
        "{% for x in [1] %}{{ loop([2]) }}{% endfor %}",
        "{% for x in [[1, 2], []] recursive %}{% if x is iterable %}[{{ loop(x) }}]{% else %}{{ x }}{% endif %}{% else %}E{% endfor %}",
        "{% for x in numbers %}{% for y in [1] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
        "{% for x in numbers %}{% set outer = loop %}{% for y in [1, 2] %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
        "{% for x in range(3) %}{{ x }}{% endfor %}{% for x in range(1, 7, 2) %}{{ x }}{% endfor %}{% for x in range(3, 0, -1) %}{{ x }}{% endfor %}",
        "{% for x in range(100001) %}{% endfor %}",
        "{{ range(3) }} {{ range(1, 10, 3) }} {{ range(1, 10, 3) | list }} {{ range(0) | list }} {{ range(5) | length }} {{ 3 in range(5) }}",
        "{{ range(1, 2, 0) }}", "{{ range('a') }}", "{{ range() }}", "{% for x in d.items() %}{{ x[0] }}{{ x }}{% endfor %}",
        "{% for k, v in d | dictsort %}{{ k }}{{ v }} {% endfor %}", "{% for x in numbers | reverse %}{{ x }}{{ loop.length }}{% endfor %}",
        "{% for m in messages %}{{ loop.index0 }}{{ m.role }}{% endfor %}{{ loop is defined }}",
        "{% for x in numbers %}{% if loop.first %}<{% endif %}{{ x }}{% if loop.last %}>{% endif %}{% endfor %}",
        "{% for x in [1] %}{{ x }}{% endfor %}{{ x }}|", "{% for name in ['x'] %}{{ name }}{% endfor %}{{ name }}",
        "{% for x in (1, 2) + (3,) %}{{ x }}{% endfor %}", "{% for x in numbers, %}{{ x }}{% endfor %}",
        "{% for i in [1, 2, 3] %}{{ loop.nextitem if not loop.last else 'end' }}{% endfor %}",
        "{% for x in numbers | map('string') %}{{ x }}{{ loop.last }}{{ loop.length }} {% endfor %}",
        ("{% for m in messages %}{% if m.role == 'user' and loop.previtem and loop.previtem.role == 'system' %}{{ loop.previtem.content }}{% endif %}"
         "{% endfor %}"),
        "{% for x in numbers %}{{ loop.nope }}|{% endfor %}", "{% for x in numbers %}{{ loop['index'] }}{% endfor %}",
    ],
    "macros and calls": [
        "{% macro m(a, b=2) %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=4, a=5) }}{{ m() }}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(c=2) }}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
        "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(7) }}", "{% macro m(a=b, b=2) %}{{ a }}|{{ b }}{% endmacro %}{{ m() }}",
        "{% macro m() %}x{% endmacro %}{{ m }}", "{% macro m() %}a\n{% endmacro %}{{ m() | trim }}{{ m() | length }}",
        "{% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n * (fact(n - 1) | int) }}{% endif %}{% endmacro %}{{ fact(10) }}",
        "{% macro m() %}{{ caller() }}!{% endmacro %}{% call m() %}hi{% endcall %}",
        "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b=3, c=4) m() %}{{ a }}{{ b }}{{ c }}{% endcall %}",
        "{% macro m() %}x{% endmacro %}{% call m() %}hi{% endcall %}", "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}",
        "{% macro m(x) %}<{{ x }}>{{ caller() }}</{{ x }}>{% endmacro %}{% call m('b') %}{% call m('i') %}t{% endcall %}{% endcall %}",
        "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}", "{% macro m(caller=none) %}{{ caller }}{% endmacro %}{{ m() }}",
        "{% macro m(caller) %}{{ caller() }}{% endmacro %}{{ m() }}",
        "{% macro m(a, b, c) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(*[1, 2, 3]) }}{{ m(1, *[2], c=3) }}{{ m(**{'a': 1, 'b': 2, 'c': 3}) }}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(**{1: 2}) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(a=1, **{'a': 2}) }}",
        "{% macro m(a) %}{% set a = a + 1 %}{{ a }}{% endmacro %}{% set a = 1 %}{{ m(a) }}{{ a }}",
        "{% macro outer() %}{% macro inner() %}i{% endmacro %}{{ inner() }}o{% endmacro %}{{ outer() }}", "{{ m() }}{% macro m() %}{% endmacro %}",
        "{% macro m(x) %}{{ x | tojson }}{% endmacro %}{{ m({'a': [1]}) }}", "{% macro m() %}{{ undefined_inside }}{% endmacro %}{{ m() }}|",
        "{% macro m(l) %}{% for x in l %}{{ loop.index }}{{ x }}{% endfor %}{% endmacro %}{{ m(['a', 'b']) }}",
        "{% macro m(a, b) %}{{ a is defined }}{{ b is defined }}{% endmacro %}{{ m(missing) }}", "{% filter upper %}abc{{ name }}{% endfilter %}",
        "{% filter replace('a', 'b') | upper %}abca{% endfilter %}", "{% filter indent(2) %}a\nb{% endfilter %}",
        "{% filter trim %}{% set q = 5 %}  {{ q }}  {% endfilter %}{{ q }}|", "{{ m.name }}{% macro m() %}{% endmacro %}{{ m.name }}",
        "{% set f = name.upper %}{{ f() }}", "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{{ namespace(1) }}",
        "{{ dict(a=1, b='x') }} {{ dict([('k', 1)], z=2) }} {{ dict({'q': 1}, q=2) }}", "{{ dict(1) }}", "{{ dict(messages[0], **{'content': 'new'}) }}",
        "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}",
        "{% set j = joiner('|') %}{{ j() }}a{{ j() }}b{{ j() }}c", "{% set j = joiner() %}{{ j() }}{{ j() }}", "{{ raise_exception('boom: ' ~ name) }}",
        "{% if messages[0].role != 'user' %}{{ raise_exception('Roles must alternate') }}{% endif %}",
        ("{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now('%B %d, %Y %H:%M:%S %A %a %j %y %p %I %%') }} "
         "{{ strftime_now('%-d/%-m %e %F %T %D %u %w') }}"),
        "{{ strftime_now(5) }}", "{{ cycler() }}", "{{ range(1, 2, 3, 4) }}",
    ],
    "string methods": [
        ("{% set least = -9223372036854775807 - 1 %}{{ 'a'.center(least) }}{{ 'a'.ljust(least) }}{{ 'a'.rjust(least) }}{{ 'éa'.zfill(least) }} "
         "{{ 'aba'.find('a', least, 9223372036854775807) }} {{ 'aba'.rfind('a', least) }} {{ 'aba'.count('a', 1, 9223372036854775807) }}"),
        "{{ 'Straße ẞ ﬁ ŉ ΣΑΣ ς İı ᾳ Ꭰꭰᏸ DŽ'.casefold() }} {{ uni.casefold() }} {{ 'Straße'.casefold() == 'STRASSE'.casefold() }}",
        ("{% for c in 'ªⅣⅳⒶⓐʰǅaA1\\u0345' %}{{ c.isupper() }}{{ c.islower() }}{{ c is upper }}{{ c is lower }}{{ c.swapcase() }} {% endfor %}"
         "{{ '1ª classe ⅳa'.title() }}"),
        ("[{{ text.strip() }}][{{ text.lstrip() }}][{{ text.rstrip() }}][{{ 'xxaxx'.strip('x') }}][{{ 'abcab'.strip('ab') }}][{{ 'é日é'.strip('é') }}"
         "][{{ '\\u3000a\\u00a0'.strip() }}][{{ 'a'.strip(none) }}]"),
        ("{{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ words.split() }} {{ ' a b  c '.split(none, 1) }} {{ ''.split() }} {{ ''.split(',') }}"
         " {{ 'a, b'.split(', ') }} {{ 'aXbXc'.split(sep='X', maxsplit=1) }} {{ 'abc'.split('abc') }}"),
        "{{ 'a'.split('') }}",
        ("{{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ 'a b c'.rsplit() }} {{ ' a b'.rsplit(none, 1) }} {{ 'a--b--c'.rsplit('--') }}"
         " {{ 'aaa'.rsplit('aa') }} {{ ' a b '.rsplit(none, 0) }} {{ ' a b '.split(none, 0) }}"),
        "{{ lines.splitlines() }} {{ 'a\\n'.splitlines() }} {{ ''.splitlines() }} {{ 'a\\x0bb\\u2028c'.splitlines() }} {{ 'a\\nb'.splitlines(true) }}",
        ("{{ 'abc'.startswith('a') }} {{ 'abc'.startswith(('x', 'ab')) }} {{ 'abc'.endswith('c') }} {{ 'abc'.endswith(('x', 'y')) }} "
         "{{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }} {{ 'abc'.startswith('') }} {{ ''.startswith('', 1) }}"),
        "{{ 'abc'.startswith(1) }}", "{{ 'abc'.startswith(['a']) }}", "{{ 'abc'.startswith(missing) }}",
        ("{{ 'aXbX'.replace('X', '-') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'ab'.replace('', '-') }} {{ 'abc'.replace('z', 'y') }} "
         "{{ 'añ'.replace('', '.') }} {{ ''.replace('', 'x') }} {{ 'ab'.replace('', '-', 1) }} {{ 'ab'.replace('', '-', 2) }}"),
        "{{ 'a'.replace('a') }}", "{{ 'a'.replace('a', 1) }}",
        ("{{ 'hello World'.upper() }} {{ 'HELLO'.lower() }} {{ 'hello wORLD it\\'s'.title() }} {{ 'hELLO World'.capitalize() }} {{ 'aBc'.swapcase() }} "
         "{{ 'ß'.upper() }} {{ uni.upper() }} {{ uni.lower() }} {{ 'ﬁx ǆ ß'.title() }} {{ 'éCOLE'.capitalize() }} {{ 'İ'.lower() | length }} "
         "{{ 'ΟΔΟΣ ΟΔΟΣ. Σ'.lower() }}"),
        ("{{ 'abcabc'.find('b') }} {{ 'abc'.find('z') }} {{ 'abcabc'.rfind('b') }} {{ 'ñb'.find('b') }} {{ 'abcabc'.find('b', 2) }} "
         "{{ 'abcabc'.find('b', 2, 4) }} {{ 'abc'.index('c') }} {{ 'abcabc'.count('b') }} {{ 'aaa'.count('aa') }} {{ 'abc'.count('') }} "
         "{{ 'abc'.find('a', -3) }} {{ 'abc'.find('', 9) }} {{ 'aba'.rindex('a') }}"),
        "{{ 'abc'.index('z') }}", "{{ ', '.join(['a', 'b']) }} {{ ''.join([]) }}| {{ '-'.join('abc') }} {{ '.'.join(d) }}", "{{ ','.join([1]) }}",
        "{{ ','.join(5) }}",
        ("{{ 'a1'.isalnum() }} {{ 'ab'.isalpha() }} {{ '12'.isdigit() }} {{ '1a'.isdigit() }} {{ ''.isdigit() }} {{ ' \\t'.isspace() }} "
         "{{ 'ab'.islower() }} {{ 'AB'.isupper() }} {{ 'é'.isalpha() }} {{ '12'.isnumeric() }} {{ 'a b'.isalpha() }} {{ 'abc'.isascii() }} "
         "{{ 'é'.isascii() }} {{ 'A1'.isupper() }} {{ '12'.isdecimal() }} {{ 'a\\n'.isprintable() }}"),
        "{{ 'a-b-c'.partition('-') }} {{ 'abc'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.rpartition('-') }}",
        "{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'abc'.removeprefix('x') }}",
        ("[{{ 'a'.ljust(3) }}][{{ 'a'.rjust(3) }}][{{ 'ab'.center(5) }}][{{ 'ab'.center(5, '*') }}][{{ 'abc'.center(6, '*') }}][{{ '5'.zfill(3) }}"
         "][{{ '-5'.zfill(4) }}][{{ 'é'.rjust(3, '·') }}]"),
        "{{ '{} and {}'.format(1, 'b') }} {{ '{1}{0}'.format('a', 'b') }} {{ '{x}'.format(x=5) }} {{ '{{}}'.format() }} {{ '{!r}'.format('q') }}",
        ("{{ '{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd') }} {{ '{:05d} {:+d} {:x} {:#x} {:b} {:,}'.format(42, 5, 255, 255, 5, 1234567) }} "
         "{{ '{:.2f} {:8.3f}| {:e} {:.1%} {:g}'.format(3.14159, 2.5, 12345.678, 0.256, 0.0001) }} {{ '{:.2}'.format('abcdef') }} {{ '{:5}|'.format(1) }}"
         " {{ '{}'.format(none) }} {{ '{:>6}'.format(1.5) }} {{ '{:d}'.format(true) }} {{ '{}'.format([1]) }}"),
        "{{ '{}'.format() }}", "{{ '{x}'.format(1) }}", "{{ '{'.format(1) }}", "{{ '}'.format(1) }}", "{{ '{} {0}'.format(1) }}", "{{ '{:d}'.format('a') }}",
        "{{ '{:z}'.format(1) }}",
        ("{{ '%s and %d' % ('a', 5) }} {{ '%s' % name }} {{ '%5s|%-5s|%05d|%+d|%x|%o|%X' % ('a', 'b', 42, 7, 255, 8, 255) }} "
         "{{ '%.2f %e %g %%' % (3.14159, 12345.678, 0.0001) }} {{ '%(a)s %(b)d' % {'a': 'x', 'b': 2} }} {{ '%r' % ('a',) }} {{ '%.3s' % 'abcdef' }} "
         "{{ '%d' % 3.9 }} {{ '%s' % [1, 2] }} {{ '%s' % none }} {{ '%*d' % (5, 42) }}"),
        "{{ '%s %s' % 'a' }}", "{{ '%d' % 'a' }}", "{{ '%s' % ('a', 'b') }}", "{{ '%q' % 1 }}", "{{ '%' % 1 }}", "{{ '%(a)s' % 1 }}",
        "{{ 'plain' % () }} {{ 'plain' % {} }}", "{{ '%s' | format(5) }} {{ '%s-%s' | format('a', 'b') }} {{ '%(x)s' | format(x=1) }}", "{{ 'a'.nope() }}",
        "{{ 'a'.strip(1) }}", "{{ 'a'.upper(x=1) }}",
        "{{ 'abc'.split(',', -1) }} {{ '\\n'.join(lines.splitlines()) | length }} {{ text.strip().split(', ')[1][:-1] }}",
        "{{ 'a</think>b'.split('</think>')[-1].lstrip('\\n') }}", "{{ 'x'.zfill('a') }}", "{{ 'a'.center(3, 'xy') }}",
    ],
    "filters of texts": [
        ("{{ 'abcdef' | truncate(9223372036854775807, leeway=9223372036854775807) }} {{ 'abcdef' | truncate(9223372036854775807) }} "
         "{{ 'abcdef' | truncate(4, leeway=0) }} {{ 'a' | center(-9223372036854775807 - 1) }}"),
        ("{% for n in [15, 25, -15, -25, 14, 16, -14, -16, 0, 5, -5] %}{{ n | round(-1) }} {% endfor %}{{ 9223372036854775807 | round(-2) }} "
         "{{ (-9223372036854775807 - 1) | round(-2) }} {{ 9223372036854775807 | round(-18) }} {{ 4999999999999999999 | round(-19) }}"),
        ("{% for c in 'a<b' | e %}{{ c + '<' }}{% endfor %} {{ (html | e | first) + '<' }} {{ ('a<' | e | last) + '<' }} {{ 'é<' | e | list }} "
         "{{ ('a<' | e)[0] + '<' }}"),
        ("{{ 'a<' | e | sort }} {{ 'a<' | e | map('upper') | list }} {{ 'ab' | e | min is escaped }} {{ 'ab' | e | reverse is escaped }} "
         "{{ 'abc' | e | batch(2) | list }}"),
        ("[{{ text | trim }}][{{ 'xax' | trim('x') }}]{{ 'aB' | upper }}{{ 'aB' | lower }}{{ 'hello wORLD-foo (bar) it\\'s' | title }}"
         "|{{ 'hELLO w' | capitalize }}"),
        "{{ 5 | upper }}{{ none | lower }}{{ true | string | length }}{{ [1] | string }}{{ 1.0 | string }}",
        ("{{ 'abc' | replace('b', 'x') }} {{ 'aaa' | replace('a', 'b', 2) }} {{ 5 | replace(5, 6) }} {{ 'a' | replace(old='a', new='z') }} "
         "{{ 'aa' | replace('a', 'b', count=1) }}"),
        ("{{ html | e }} {{ html | escape }} {{ html | safe }} {{ (html | e) | e }} {{ (html | safe) | e }} {{ html | e | forceescape }} {{ 5 | e }} "
         "{{ html | e | length }}"),
        ("{{ ('<a>' | safe) + '<b>' }} {{ '<b>' + ('<a>' | safe) }} {{ ('<a>' | safe) ~ '<b>' }} {{ ('<a>' | safe) + ('<b>' | safe) }} "
         "{{ [('x' | safe)] }} {{ ('<%s>' | safe) % '<' }} {{ ('<a>' | safe).replace('a', '<') }} {{ ('<' | safe).join(['<', '>']) }} "
         "{{ ('a' | safe) * 2 + '<' }} {{ ('<a>' | safe)[1:] + '<' }} {{ ('<a>' | safe).upper() + '<' }} {{ ('{}' | safe).format('<') }} "
         "{{ ('a,<' | safe).split(',')[1] + '<' }}"),
        ("{{ 'a\\nb\\n\\nc' | indent }}|{{ 'a\\nb' | indent(2) }}|{{ 'a\\nb\\n\\nc' | indent(2, true) }}|{{ 'a\\n\\nb' | indent(2, blank=true) }}"
         "|{{ 'a\\nb' | indent('> ') }}|{{ 'a\\n' | indent(2) }}|{{ '' | indent }}|{{ 'a' | indent(2, first=true) }}|{{ 'a\\nb' | indent(width=1) }}"
         "|{{ 'a\\r' | indent }}|"),
        "{{ 5 | indent }}", "{{ none | indent }}", "{{ 'abc' | length }} {{ uni | length }} {{ numbers | count }} {{ d | length }} {{ '' | length }}",
        "{{ 5 | length }}", "{{ none | length }}",
        ("{{ 'a b  c' | wordcount }} {{ 'foo bar baz qux' | truncate(9) }} {{ 'foo bar baz qux' | truncate(9, true) }} "
         "{{ 'foo bar baz qux' | truncate(11) }} {{ 'foo bar' | truncate(3, false, '', 0) }} {{ 'foo bar baz qux' | truncate(11, false, '...', 0) }}"),
        "[{{ 'ab' | center(6) }}]", "{{ 'a' | nofilter }}",
        ("{{ '5' | int }} {{ '5.7' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ 3.9 | int }} {{ -3.9 | int }} {{ true | int }} {{ none | int }} "
         "{{ '0x1f' | int(0, 16) }} {{ ' 12 ' | int }} {{ '1_000' | int }} {{ '' | int }} {{ '-5' | int }} {{ '0b11' | int(base=2) }} {{ '1e3' | int }} "
         "{{ [] | int }} {{ 'inf' | int }} {{ 'nan' | int(5) }} {{ 'ff' | int(base=16) }} {{ '0x10' | int(base=0) }}"),
        ("{{ '1.5' | float }} {{ 'x' | float }} {{ 'x' | float(2.5) }} {{ 3 | float }} {{ '1e3' | float }} {{ none | float }} {{ 'inf' | float }} "
         "{{ '-nan' | float }} {{ ' .5 ' | float }} {{ '5.' | float }} {{ '1_0.5' | float }}"),
        "{{ -5 | abs }} {{ 5.5 | abs }} {{ -5.5 | abs }} {{ true | abs }}", "{{ 'a' | abs }}",
        ("{{ 42.55 | round }} {{ 42.55 | round(1) }} {{ 42.45 | round(1, 'floor') }} {{ 42.41 | round(1, 'ceil') }} {{ 2.5 | round }} {{ 3.5 | round }} "
         "{{ 5 | round }} {{ -2.5 | round }} {{ 1234.5 | round(-2) }} {{ 15 | round(-1) }} {{ 25 | round(-1) }} {{ 2.675 | round(2) }} "
         "{{ 42 | round(1, 'floor') }} {{ 0.5 | round | int }}"),
        "{{ 'a' | round }}", "{{ 1 | round(0, 'x') }}",
        ("{{ 'abc' | reverse }} {{ 'abc' | first }} {{ 'abc' | last }} {{ 'abc' | list }} {{ '' | first }}|{{ 'añb' | list | join('.') }} "
         "{{ uni | last }}"),
        "{{ 'a' | string | upper | lower | trim }}", "{{ name | attr('upper') is callable }} {{ d | attr('b') }}|{{ d | attr('get') is callable }}",
        "{{ 'a' | upper(1) }}", "{{ 'a' | trim(x=1) }}", "{{ 'a' | replace('a') }}",
    ],
    "tojson": [
        "{{ 'a\\x7f\\x1f~é\\x80' | tojson(ensure_ascii=true) }} {{ 'a\\x7f\\x1f~é\\x80' | tojson }}", "{{ mixed | tojson }}", "{{ tool | tojson }}",
        "{{ tool | tojson(indent=2) }}", "{{ tool | tojson(indent=4) }}", "{{ tool | tojson(ensure_ascii=true) }}", "{{ d | tojson(sort_keys=true) }}",
        "{{ d | tojson(separators=(',', ':')) }}", "{{ d | tojson(indent=1, separators=(',', ': ')) }}",
        "{{ [] | tojson }}{{ {} | tojson }}{{ [] | tojson(indent=2) }}{{ {'a': []} | tojson(indent=2) }}",
        "{{ 'é😀\\n\\t\\\"\\\\/\\x01\\x7f' | tojson }} {{ 'é😀' | tojson(true) }}",
        "{{ 1.0 | tojson }} {{ 1e100 | tojson }} {{ 5 | tojson }} {{ none | tojson }} {{ true | tojson }} {{ big | tojson }} {{ 0.1 | tojson }}",
        "{{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }}", "{{ (1, 2) | tojson }}", "{{ {(1, 2): 3} | tojson }}", "{{ range(3) | tojson }}",
        "{{ namespace() | tojson }}", "{{ d.items() | tojson }}", "{{ numbers | map('string') | tojson }}", "{{ numbers | map('string') | list | tojson }}",
        "{{ html | tojson }}", "{{ ('<a>' | safe) | tojson }}", "{{ d | tojson(indent='\\t') }}", "{{ [1, [2]] | tojson(indent=0) }}",
        "{{ messages | tojson }}", "{{ {1: 2, 'a': 3} | tojson(sort_keys=true) }}", "{{ 'a' | tojson(foo=1) }}", "{{ uni | tojson | length }}",
        "{{ lines | tojson }}", "{{ tool | tojson(indent=2, ensure_ascii=True, sort_keys=True) }}",
        "{{ ('inf' | float) | tojson }} {{ ('nan' | float) | tojson }}",
    ],
    "filters of lists": [
        "{{ numbers | first }} {{ numbers | last }} {{ [] | first }}|{{ [] | last }}|{{ d | first }} {{ d | last }} {{ numbers | length }}",
        "{{ none | first }}", "{{ 5 | last }}",
        ("{{ numbers | join }} {{ numbers | join(', ') }} {{ people | join('-', attribute='name') }} {{ mixed | join('/') }} {{ d | join(',') }} "
         "{{ 'abc' | join('.') }} {{ numbers | join(1) }} {{ [('<' | safe), '>'] | join }}"),
        "{{ 5 | join }}",
        ("{{ numbers | sort }} {{ numbers | sort(reverse=true) }} {{ names | sort }} {{ names | sort(case_sensitive=true) }} "
         "{{ people | sort(attribute='age') | map(attribute='name') | list }} {{ people | sort(attribute='age,name') | map(attribute='name') | list }} "
         "{{ people | sort(attribute='name', reverse=true) | map(attribute='name') | list }} {{ d | sort }} {{ 'bca' | sort }}"),
        "{{ mixed | sort }}", "{{ people | sort }}", "{{ numbers | reverse | list }} {{ d | reverse | list }} {{ numbers | list | reverse | join }}",
        ("{{ names | unique | list }} {{ names | unique(case_sensitive=true) | list }} "
         "{{ people | unique(attribute='age') | map(attribute='name') | list }} {{ [1, true, 1.0, '1'] | unique | list }}"),
        "{{ [[1]] | unique | list }}",
        ("{{ numbers | min }} {{ numbers | max }} {{ names | min }} {{ names | max }} {{ [] | min }}| {{ people | min(attribute='age') }} "
         "{{ people | max(attribute='name') }} {{ ['b', 'A'] | min(case_sensitive=true) }}"),
        "{{ [1, 'a'] | min }}",
        ("{{ numbers | sum }} {{ [] | sum }} {{ people | sum(attribute='age') }} {{ numbers | sum(start=10) }} {{ [0.5, 1] | sum }} "
         "{{ [[1], [2]] | sum(start=[]) }}"),
        "{{ ['a'] | sum }}", "{{ ['a'] | sum(start='') }}",
        ("{{ numbers | map('string') | list }} {{ names | map('upper') | join(',') }} {{ people | map(attribute='name') | list }} "
         "{{ people | map(attribute='city.n') | list }}"),
        "{{ people | map(attribute='city.n') | list }}",
        ("{{ people[:2] | map(attribute='city.n') | list }} {{ people | map(attribute='zz', default='-') | list }} "
         "{{ [[1, 2], [3, 4]] | map(attribute=1) | list }} {{ [[1, 2]] | map(attribute='0') | list }} {{ names | map('replace', 'b', 'x') | list }} "
         "{{ numbers | map('round', 1) | list }} {{ [] | map('upper') | list }}"),
        "{{ names | map('nofilter') | list }}", "{{ names | map | list }}", "{{ names | map(foo=1) | list }}", "{{ numbers | map('string') | length }}",
        "{{ (numbers | map('string'))[0] }}|", "{% set g = numbers | map('string') %}{{ g | list }}{{ g | list }}{{ 'y' if g }}",
        "{% set g = numbers | map('string') %}{{ g | first }}{{ g | list }}",
        "{{ (numbers | map('string')) is iterable }} {{ (numbers | map('string')) is sequence }} {{ '1' in (numbers | map('string')) }}",
        "{{ numbers | map('string') | last }}",
        ("{{ numbers | select('odd') | list }} {{ numbers | reject('odd') | list }} {{ mixed | select | list }} {{ mixed | select('string') | list }} "
         "{{ numbers | select('gt', 1) | list }} {{ mixed | reject('none') | list | length }} {{ names | select('equalto', 'bob') | list }} "
         "{{ names | select('in', ['bob', 'x']) | list }} {{ numbers | select('==', 2) | list }} {{ numbers | reject('>=', 2) | list }}"),
        ("{{ people | selectattr('age', 'equalto', 30) | map(attribute='name') | list }} {{ people | selectattr('city') | list | length }} "
         "{{ people | rejectattr('city', 'defined') | map(attribute='name') | list }} {{ messages | selectattr('role', '==', 'user') | list }} "
         "{{ messages | selectattr('role', 'in', ['user', 'system']) | list | length }} {{ messages | rejectattr('role', 'eq', 'system') | first }} "
         "{{ messages | selectattr('tool_calls', 'defined') | list }}"),
        "{{ numbers | select('notest') | list }}", "{{ numbers | selectattr | list }}", "{{ none | select | list }} {{ none | map('upper') | list }}",
        "{{ 5 | select | list }}",
        ("{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3] | batch(2, 0) | list }} {{ [1, 2, 3, 4, 5] | slice(2) | list }} "
         "{{ [1, 2, 3] | slice(2, 0) | list }} {{ [] | batch(2) | list }} {{ [1] | slice(3) | list }}"),
        ("{{ d | dictsort }} {{ d | dictsort(true) }} {{ d | dictsort(by='value') }} {{ d | dictsort(false, 'value', true) }} "
         "{{ d | dictsort(reverse=true) }}"),
        "{{ d | dictsort(by='x') }}", "{{ numbers | dictsort }}", "{{ d | items | list }} {{ d | items | first }}", "{{ numbers | items | list }}",
        "{{ numbers | list }} {{ d | list }} {{ range(3) | list }} {{ (1, 2) | list }}", "{{ 5 | list }}", "{{ none | list }}",
        "{{ [3, 1, 2] | sort | first }} {{ [[2, 'b'], [1, 'a']] | sort }} {{ [(1, 'b'), (1, 'a')] | sort }}",
        "{{ [1, 2] | tojson | length }} {{ [1, 2, 3] | sum / 2 }} {{ -1 | abs + 1 }} {{ 1 + 2 | string | length }}",
    ],
    "conversations": [
        ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"),
        ("{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}"
         "\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + '</s>' }}\n{% endif %}\n{% if loop.last %}"
         "\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"),
        ("{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = messages[1:] %}{% else %}"
         "{% set rest = messages %}{% endif %}{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
         "{{ raise_exception('Roles must alternate') }}{% endif %}{% if m['role'] == 'user' %}[INST] {% if loop.first and system is defined %}"
         "<<SYS>>\n{{ system }}\n<</SYS>>\n\n{% endif %}{{ m['content'] | trim }} [/INST]{% else %} {{ m['content'].strip() }} </s>{% endif %}"
         "{% endfor %}"),
        ("{%- macro render(m) -%}\n  <|{{ m.role }}|>\n{{ m.content }}<|end|>\n{%- endmacro -%}\n{%- for m in messages -%}\n{{ render(m) }}"
         "\n{% endfor -%}"),
        ("{%- set ns = namespace(last=-1) -%}\n{%- for m in messages -%}\n  {%- if m.role == 'user' -%}\n    {%- set ns.last = loop.index0 -%}"
         "\n  {%- endif -%}\n{%- endfor -%}\n{{ ns.last }} {{ messages[ns.last].content }}"),
        "{%- for m in messages[::-1] -%}\n{{ m.role }}{{ ',' if not loop.last }}\n{%- endfor %}",
    ],
}


def render(template, context=CONTEXT):
    try:
        return ENVIRONMENT.from_string(template).render(**context)
    except Exception as problem:   # every kind of error that a template can have
        return {"error": type(problem).__name__}


TALK = [{"role": "system", "content": "Be kind.\n"}, {"role": "user", "content": " Hi <|im_end|></s>"}, {"role": "assistant", "content": "Hello! "},
        {"role": "user", "content": "Wie geht's?\n\n"}]
CONVERSATIONS = [TALK, TALK[:2], TALK[1:2], TALK[1:3], TALK[1:], TALK[:1], TALK[1:2] + TALK[:1] + TALK[3:], [], TALK + [{"role": "tool", "content": "4"}],
                 [{"role": "user", "content": None}], [{"role": "user"}], [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]]


def call(number, name, arguments):
    return {"id": "call_%d" % number, "type": "function", "function": {"name": name, "arguments": arguments}}


TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The weather of a \"city\" <é>", "parameters": {
              "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": ["integer", "null"]}}, "required": ["city"]}}},
         {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}}]
ASKED = [{"role": "developer", "content": "Use functions."}, {"role": "user", "content": "Weather in Rom<|end|>e?"},
         {"role": "assistant", "content": " Let me see ", "tool_calls": [call(1, "weather", {"city": "Rome", "days": 2}), call(2, "now", "{}")]},
         {"role": "tool", "tool_call_id": "call_1", "content": "{\"t\": 21.5}"}, {"role": "tool", "content": {"hour": 5}},
         {"role": "assistant", "content": "21.5"}]
OWN_CONVERSATIONS = CONVERSATIONS + [
    ASKED, ASKED[1:3], ASKED[1:5], [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": None}]}],
    [{"role": "user", "content": "1"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\ntwo"}, {"role": "user", "content": "<result>3</result>"},
     {"role": "assistant", "content": "four", "reasoning_content": "\nwhy\n"}],
    [{"role": "user", "name": "ada l.", "content": [{"type": "text", "text": "Look:\n"}, {"type": "image"}, {"type": "text", "text": "<b>"}]},
     {"role": "assistant", "content": [{"type": "sound"}]}], [{"role": "user", "name": "ada l.", "content": [{"type": "image"}]}]]


def write_named(folder):
    """Renders each conversation with each named template and each of our own, as a question to the model and as it stands, with special tokens, tools and a
    variable or without."""
    with open(os.path.join(folder, "..", "..", "..", "include", "cria", "chat", "named_templates.hpp"), encoding="utf-8") as file:
        templates = [(name, source, CONVERSATIONS) for name, source in re.findall(r'\{"(\w+)", R"jinja\((.*?)\)jinja"', file.read(), re.S)]
    for name in sorted(n for n in os.listdir(folder) if n.endswith(".jinja")):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            templates.append((name, file.read(), OWN_CONVERSATIONS))
    full = {"add_generation_prompt": True, "tools": TOOLS, "bos_token": "<s>", "eos_token": "</s>", "enable_thinking": False}
    bare = {"add_generation_prompt": False, "tools": None}
    cases = []
    for name, source, conversations in templates:
        for messages in conversations:
            cases += [[name, messages, more is full, render(source, {"messages": messages, "documents": None, **more})] for more in (full, bare)]
    with open(os.path.join(folder, "named.json"), "w", encoding="utf-8", newline="\n") as out:
        out.write('{\n"tools": %s,\n"cases": [\n' % json.dumps(TOOLS, ensure_ascii=False))
        out.write("%s\n]\n}\n" % ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases))
    return len(templates), len(cases)


def main():
    groups = {name: [[t, render(t)] for t in templates if t or name == "data and white space"] for name, templates in CASES.items()}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates", "expected.json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    head = {"made by": "tests/chat/make_expected.py with jinja2 %s, Python %s" % (jinja2.__version__, platform.python_version()), "context": CONTEXT}
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        out.write("{\n")
        for key, value in head.items():
            out.write("%s: %s,\n" % (json.dumps(key), json.dumps(value, ensure_ascii=False)))
        out.write('"groups": {\n')
        for i, (name, cases) in enumerate(groups.items()):
            out.write("%s: [\n%s\n]%s\n" % (json.dumps(name), ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases), "," if i + 1 < len(groups) else ""))
        out.write("}\n}\n")
    print(sum(len(c) for c in groups.values()), "templates; %d whole ones, %d texts" % write_named(os.path.dirname(path)))


if __name__ == "__main__":
    main()
