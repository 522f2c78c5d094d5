// SPDX-License-Identifier: MIT
// The architectures that are LLaMA but for a scale, norms or a rotation, and gpt-oss, against logits of llama.cpp, and the keys that only they have.
//
// Goldens: llama.cpp d32676d (August 2026), float32 cache, no flash attention, of the files that `family` builds, made by llama_decode of the 40 tokens of
// `tokens` in one batch on 2026-11-23; logits at positions 17 and 39. Its GELU goes through a half-precision table: gemma and starcoder2 agree to 2e-3.
#include <cria/model/model.hpp>

#include <doctest/doctest.h>

#include <tests/support/family_models.hpp>
#include <tests/support/golden.hpp>
#include <tests/support/load_parts.hpp>
#include <tests/support/run_model.hpp>
#include <tests/support/tiny_model.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace cria_test;
using cria::errc;
using cria::kv_type;
using cria::token_id;

struct golden_rows {
  const char* name;
  float at_17[19], at_39[19];
};

constexpr golden_rows goldens[] = {
    {"internlm2",
     {0.479811f, 0.809576f, -0.0509615f, -0.619173f, 0.321737f, -2.66441f, -1.2116f, 2.97017f, -0.571894f, -1.14842f, 1.41191f, -2.95604f, -0.447069f,
      -0.831653f, 1.27116f, 0.859256f, 1.94514f, -1.37615f, -1.55923f},
     {1.98848f, -1.17279f, 2.42808f, 2.32019f, 1.73867f, -3.28249f, -0.212623f, 2.24139f, 0.318476f, -1.60497f, 0.489857f, -0.0352949f, 0.0896591f,
      -1.54159f, -0.745343f, -1.43758f, -0.86274f, -0.982379f, -0.604328f}},
    {"ernie4_5",
     {0.479811f, 0.809576f, -0.0509615f, -0.619173f, 0.321737f, -2.66441f, -1.2116f, 2.97017f, -0.571894f, -1.14842f, 1.41191f, -2.95604f, -0.447069f,
      -0.831653f, 1.27116f, 0.859256f, 1.94514f, -1.37615f, -1.55923f},
     {1.98848f, -1.17279f, 2.42808f, 2.32019f, 1.73867f, -3.28249f, -0.212623f, 2.24139f, 0.318476f, -1.60497f, 0.489857f, -0.0352949f, 0.0896591f,
      -1.54159f, -0.745343f, -1.43758f, -0.86274f, -0.982379f, -0.604328f}},
    {"exaone",
     {0.973419f, 0.193705f, -0.550561f, 0.244928f, 1.31923f, -2.08275f, -0.846887f, 4.11054f, -1.23555f, -0.206586f, 1.481f, -2.23264f, 1.88354f, -0.774009f,
      -1.54427f, 0.642832f, -0.220005f, -1.52872f, -1.42898f},
     {1.94233f, -0.330979f, 2.24625f, 3.83064f, 0.546154f, -3.95681f, -1.13463f, 3.09913f, -0.369906f, -1.16836f, -1.12805f, -0.967374f, 1.90891f, -2.52111f,
      0.20196f, -0.627054f, -0.588467f, -1.6916f, 0.267828f}},
    {"smollm3",
     {0.313017f, 1.13413f, -0.252992f, -0.58847f, 0.541615f, -2.83205f, -1.29113f, 3.25259f, -0.599205f, -0.938039f, 1.61947f, -2.89498f, -0.326191f,
      -0.85322f, 1.1051f, 0.605323f, 1.40902f, -1.29507f, -1.58652f},
     {2.14821f, -0.800078f, 2.23611f, 2.36859f, 1.98625f, -3.10973f, -0.435157f, 2.25083f, 0.241924f, -1.28732f, 0.495443f, 0.128587f, -0.0709146f,
      -1.39023f, -0.938656f, -1.94602f, -1.17224f, -0.834941f, -0.786549f}},
    {"gemma",
     {-3.47161f, -1.406f, 1.97246f, 4.77469f, 2.52809f, -9.24269f, 0.757966f, 6.69201f, 5.42071f, 33.5848f, -2.79287f, 0.754882f, -1.06439f, -1.46387f,
      -2.56019f, -7.1862f, 1.30707f, 2.71324f, 2.16845f},
     {-1.87375f, -1.05151f, -1.15727f, 4.72509f, -0.683346f, -6.5126f, 11.1317f, 4.01933f, 33.0403f, 0.633194f, 4.17896f, -3.75997f, -0.320584f, -7.64965f,
      -2.61411f, -1.5974f, 2.06196f, -0.601096f, 4.43055f}},
    {"granite",
     {-0.421658f, -0.622665f, -1.06948f, -0.827122f, 1.11572f, -1.11725f, -0.665519f, -0.285584f, -0.801914f, -0.995026f, 0.50965f, -0.218418f, -0.245207f,
      0.936081f, 0.82428f, -0.24392f, 1.54376f, 0.314315f, 1.47001f},
     {1.73464f, -0.0827798f, 1.25733f, 2.18386f, 0.677921f, -0.772844f, -0.256834f, 0.0555968f, 0.304426f, -1.00293f, -0.354454f, -0.239411f, 0.541969f,
      -0.390543f, -0.199122f, -0.281412f, 1.1247f, -0.316296f, -0.00586975f}},
    {"minicpm",
     {-0.329038f, -0.530126f, -1.03131f, -0.708004f, 1.16028f, -1.03746f, -0.724257f, -0.304829f, -0.852555f, -1.1335f, 0.480635f, -0.448853f, -0.318846f,
      0.820464f, 0.858154f, -0.171457f, 1.56594f, -0.00640815f, 1.30691f},
     {1.8574f, -0.0139977f, 1.24224f, 2.05178f, 0.685978f, -0.699819f, -0.287973f, -0.0626612f, 0.307102f, -1.0287f, -0.375822f, -0.251374f, 0.401465f,
      -0.318599f, -0.2827f, -0.338455f, 0.924673f, -0.321261f, -0.0784422f}},
    {"granite, unturned",
     {-0.465865f, -0.657777f, -1.08724f, -0.796249f, 1.06565f, -1.10226f, -0.742434f, -0.284121f, -0.811288f, -1.04524f, 0.53342f, -0.225699f, -0.283707f,
      0.917597f, 0.850347f, -0.27118f, 1.54192f, 0.286623f, 1.47191f},
     {1.73121f, -0.10524f, 1.31014f, 2.18416f, 0.604852f, -0.818735f, -0.278218f, 0.101273f, 0.32126f, -1.05447f, -0.362463f, -0.291552f, 0.581778f,
      -0.456689f, -0.183008f, -0.298914f, 1.12632f, -0.318558f, -0.0408392f}},
    {"mistral3",
     {1.55048f, 1.41482f, 1.12801f, 0.0727585f, -0.360585f, -1.5011f, -0.0525636f, 2.55431f, -2.06764f, 0.0301763f, 0.414743f, -2.31573f, 0.152064f,
      -1.90943f, 1.36684f, 0.753535f, 1.36336f, -2.22185f, -2.5425f},
     {0.0744435f, -1.30019f, 3.25244f, 2.25641f, -0.686544f, -1.72263f, 0.174533f, 2.34313f, -0.759595f, -2.00057f, -0.0422162f, -0.60846f, 0.393673f,
      -3.6951f, -1.48234f, 1.86616f, 2.02988f, -3.71276f, 0.485694f}},
    {"gpt-oss",
     {-1.40982f, -1.0541f, 1.40464f, 0.522412f, -3.25601f, 4.95408f, 0.39835f, 2.1839f, 0.0456332f, -1.34711f, 1.57742f, -0.0938091f, -0.343304f, 2.45646f,
      1.12111f, 0.996487f, -1.70779f, -0.3429f, 0.906579f},
     {0.783852f, 0.832049f, -1.21371f, -4.68019f, -0.579459f, -0.035971f, -3.36576f, 0.88519f, 0.0655365f, -1.10523f, 0.849265f, 1.9809f, 1.21354f,
      0.852158f, 0.220749f, 3.49459f, -0.162755f, -2.21246f, 3.07655f}},
    {"olmo2",
     {1.80316f, 0.895701f, 0.149807f, 2.04986f, 1.9716f, -1.1393f, 0.363778f, 3.46079f, 0.566347f, 0.144345f, 0.557355f, -2.37731f, 2.32701f, -1.4201f,
      -3.49293f, 0.407135f, -1.27309f, -2.83947f, -1.12277f},
     {1.75101f, 0.303999f, 2.68002f, 3.60009f, 0.440649f, -2.35097f, 0.214078f, 2.72505f, 0.176337f, -0.575033f, -0.279089f, 0.415459f, 2.4258f, -3.65213f,
      -1.5571f, -0.334104f, -0.6888f, -2.74778f, 0.62033f}},
    {"olmo2, windows",
     {0.653035f, 1.04894f, -0.798211f, -0.0370122f, 1.69057f, -2.03139f, 1.03557f, 3.97645f, -0.0390982f, 1.14896f, 1.94318f, -0.0249242f, 3.44287f,
      -0.912444f, -1.90421f, 1.53499f, -0.860061f, -2.28543f, -1.38772f},
     {1.64559f, -1.96061f, 3.01662f, 2.72947f, 0.353756f, -0.792293f, 2.27141f, 3.25664f, 1.61102f, -1.30702f, 0.368191f, -0.112692f, 3.18253f, -2.02774f,
      -0.54993f, -0.58329f, -0.336192f, -1.6659f, 1.64822f}},
    {"exaone4",
     {1.70663f, 0.992813f, -0.0428502f, 2.15236f, 1.71966f, -1.07005f, 0.832746f, 2.92467f, 0.299717f, 0.394634f, 0.950473f, -1.66524f, 2.60725f, -1.75897f,
      -3.56527f, 0.923584f, -0.804175f, -2.94984f, -1.23876f},
     {1.09496f, 0.217133f, 2.39363f, 4.36393f, 0.560022f, -1.88399f, 0.568154f, 1.9414f, 0.233935f, -0.816092f, -0.370699f, -0.288428f, 2.55888f, -3.92289f,
      -1.47364f, 0.419812f, 0.369511f, -2.84711f, 0.999758f}},
    {"exaone4, windows",
     {1.10898f, -2.19659f, 0.129647f, 1.9889f, 5.43112f, -3.29184f, -0.958826f, -1.14886f, 5.04408f, -1.64199f, 2.23563f, -1.19819f, -0.789568f, -1.07929f,
      1.48564f, -1.97945f, 1.77818f, -1.87166f, -1.64432f},
     {3.28925f, 1.40275f, -3.52878f, 0.420523f, 0.884715f, -0.152112f, 0.768326f, -0.571263f, 0.478099f, 0.48221f, -0.651529f, -0.736754f, 0.222914f,
      2.50932f, -0.862251f, -4.58886f, 1.37487f, -0.268314f, 0.422499f}},
    {"glm4",
     {-0.989359f, -1.89663f, -2.1873f, -0.173594f, -1.30048f, 3.41945f, -1.3774f, 0.0304896f, 0.455792f, 2.55844f, 1.76971f, -0.38078f, 1.35734f, -0.112046f,
      0.545013f, 3.34414f, -1.05275f, -0.906049f, -0.986593f},
     {0.630966f, -2.20943f, -2.84594f, -2.65924f, 0.922615f, 3.69087f, -1.69798f, 0.601518f, 0.44279f, 1.85891f, 2.55409f, 0.605735f, 0.571127f, 0.979749f,
      -0.696689f, 3.45663f, -1.35301f, -4.02561f, 0.228446f}},
    {"seed_oss",
     {-1.68639f, -2.38408f, -1.289f, -1.77098f, -0.343615f, 3.11088f, -3.82989f, 1.12177f, 0.459061f, 2.86983f, 0.787321f, 0.361826f, 2.76991f, -0.292057f,
      -0.447003f, 3.86979f, -0.857713f, -1.70826f, -1.24619f},
     {-0.726338f, -1.74601f, -1.71255f, -2.88232f, -1.33777f, 3.81766f, -3.27829f, 0.985381f, -0.946758f, 4.03439f, 0.579641f, 0.454358f, 0.444189f,
      0.515486f, 0.496718f, 2.82849f, -1.0181f, -1.98792f, 0.742314f}},
    {"hunyuan-dense",
     {0.598398f, 0.193223f, -0.770891f, -0.228599f, 1.3229f, -1.75941f, -1.06758f, 3.36479f, -1.68699f, -0.848297f, 1.72036f, -2.03126f, 1.36186f, -0.70175f,
      -1.19798f, 1.42679f, 0.726585f, -1.68077f, -1.87728f},
     {1.96384f, -0.302358f, 2.338f, 3.76342f, 0.799598f, -3.44534f, -0.703843f, 2.94444f, -0.118435f, -0.744898f, -0.853964f, -0.700778f, 1.84054f, -2.35964f,
      0.149448f, 0.70681f, -0.00637537f, -1.99988f, 0.24602f}},
    {"granitemoe",
     {-0.919746f, -0.733947f, -1.26233f, 0.5311f, 0.349616f, -0.643535f, -0.784885f, -0.597461f, -1.45932f, -0.492935f, -0.0279201f, 0.0127829f, -0.720892f,
      -0.590124f, 0.182161f, -0.501475f, 1.30664f, -0.508662f, 1.37413f},
     {2.02745f, 0.165376f, 0.734152f, 1.86429f, 1.02968f, -0.702634f, -0.319513f, 0.0616594f, 0.665407f, -1.0914f, -0.454565f, -0.805933f, 0.819252f,
      -0.289849f, -0.419302f, -0.348631f, 0.852659f, -0.398301f, -0.408158f}},
    {"olmoe",
     {-2.76446f, -2.42646f, -0.747804f, -0.533303f, -3.34429f, -1.42051f, -0.751496f, -1.44776f, -1.0142f, -2.05023f, 0.35254f, -1.11381f, 0.219955f,
      -1.22279f, -2.46284f, 0.57663f, -0.845667f, 2.85617f, -0.791385f},
     {-3.32955f, 0.128085f, 3.33462f, 0.143849f, -1.00597f, 2.06013f, 2.13423f, -1.02015f, 1.94646f, 0.0215816f, -0.34267f, -3.58656f, 0.365316f, -0.121881f,
      -3.42653f, 1.52704f, -0.42568f, 1.88293f, -1.13159f}},
    {"starcoder2",
     {-0.790871f, 1.36104f, -1.71492f, -0.712894f, -0.355736f, 3.38396f, -1.43f, 0.922235f, 0.363798f, 1.61129f, 3.17592f, -1.17691f, 0.94214f, 0.0147457f,
      1.50498f, 3.97552f, 1.70941f, -0.80161f, -0.380807f},
     {-0.755966f, 1.27205f, -2.45665f, -0.23829f, -0.855224f, 3.52048f, -1.22963f, 0.620849f, -0.39033f, 1.65958f, 2.40425f, -1.08042f, -0.300996f, 0.402587f,
      2.03019f, 4.39738f, 1.54371f, 0.107631f, -0.130927f}},
    {"stablelm",
     {-2.98169f, -1.53622f, -3.31872f, -2.00883f, -1.50768f, 2.82485f, -2.44363f, 0.808383f, 1.70186f, 3.23423f, 2.45259f, -1.66296f, 2.66018f, -1.1391f,
      1.32705f, 4.39032f, -1.43943f, -0.815186f, 0.317006f},
     {-2.12711f, -1.44251f, -3.33721f, -2.22336f, -1.33975f, 2.16786f, -5.14934f, 1.05961f, -0.453775f, 4.50354f, 3.17863f, -0.783665f, 0.634445f, -1.06614f,
      1.63512f, 3.5927f, -2.71366f, -0.759682f, 1.67542f}},
    {"command-r",
     {-0.148475f, 0.558742f, 0.659465f, -0.467171f, -0.281914f, -0.743346f, -0.309494f, -0.578438f, -0.0612378f, 3.01776f, -0.891181f, 0.53183f, 0.662997f,
      3.48151f, 0.300744f, 0.702048f, -1.14692f, -0.308623f, -0.963694f},
     {-0.302545f, -1.25646f, 0.237114f, 1.08718f, -1.44281f, -2.06377f, 1.44126f, 0.547313f, 3.17155f, 1.17403f, -1.31925f, 0.393627f, 1.0181f, 1.61571f,
      1.71622f, -0.271234f, -1.21875f, -0.246465f, 0.140812f}},
    {"cohere2",
     {0.0491691f, 0.203239f, 0.024173f, -0.205932f, -0.911481f, -2.41657f, 0.452577f, -0.832414f, 1.13631f, 2.77352f, -0.464668f, 0.762627f, -0.300726f,
      2.66016f, 0.38061f, -0.754125f, -1.15956f, -0.000778973f, -0.876168f},
     {1.46952f, -0.26197f, -1.57606f, 0.105871f, -1.08165f, -1.06832f, 1.62766f, -1.70187f, 3.47185f, -1.03514f, -0.871628f, 0.0358285f, 0.802808f, 2.0524f,
      1.79729f, -0.15546f, -1.66557f, -1.51618f, 0.484619f}},
};

std::vector<token_id> tokens() {
  std::vector<token_id> out(40);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<token_id>((i * i + 7 * i) % 19);
  return out;
}

}  // namespace

TEST_CASE("architecture family: logits are those of llama.cpp") {
  const std::vector<member> all = family();
  REQUIRE(all.size() == std::size(goldens));
  for (std::size_t i = 0; i < all.size(); ++i) {
    CAPTURE(all[i].name);
    REQUIRE(all[i].name == goldens[i].name);
    const std::vector<float> logits = logits_of<kv_type::f32>(model_of(all[i].parts), tokens());
    const double bound = all[i].name == "gemma" || all[i].name == "starcoder2" ? 2e-3 : 1e-4;
    CHECK(relative_error(std::span<const float>(goldens[i].at_17), std::span(logits).subspan(std::size_t{17} * 19, 19)) <= bound);
    CHECK(relative_error(std::span<const float>(goldens[i].at_39), std::span(logits).subspan(std::size_t{39} * 19, 19)) <= bound);
  }
}

TEST_CASE("architecture family: the same bits for any threads and any split of the prompt") {
  for (const member& f : family()) {
    CAPTURE(f.name);
    const cria::model m = model_of(f.parts);
    const std::vector<float> whole = logits_of(m, tokens());
    for (const std::size_t batch : {std::size_t{1}, std::size_t{7}}) {
      CHECK(logits_of(m, tokens(), batch, 1) == whole);
      CHECK(logits_of(m, tokens(), batch, 3) == whole);
    }
  }
}

TEST_CASE("architecture family: a layer without one of its tensors, with one of another shape, or with one too many is refused by name") {
  for (const member& f : family()) {
    CAPTURE(f.name);
    std::size_t n_tried = 0;
    for (const model_parts::tensor& t : f.parts.tensors) {
      if (!t.name.starts_with("blk.3.") && !t.name.starts_with("output_norm.")) continue;
      const bool is_optional = t.name.ends_with(".bias") && t.name.find("norm") == t.name.npos;
      model_parts without = f.parts, reshaped = f.parts;
      without.erase_tensor(t.name);
      reshaped.at(t.name).shape.back() += 1;
      reshaped.at(t.name).data.clear();
      if (!is_optional) check_refused(without, errc::missing_tensor, t.name);
      check_refused(reshaped, errc::bad_shape, t.name);
      ++n_tried;
    }
    CHECK(n_tried >= 8);
    for (const char* const name : {"blk.3.ffn_gate_shexp.weight", "blk.3.nextn.eh_proj.weight", "blk.3.attn_sub_norm.weight"}) {
      model_parts more = f.parts;
      more.tensors.push_back({name, cria::tensor_type::f32, {64}, blocks_of(cria::tensor_type::f32, std::vector<float>(64))});
      check_refused(more, errc::bad_value, name);
    }
  }
}

TEST_CASE("architecture family: keys that would change the equations are refused by name, and change nothing where they say what is so") {
  const auto parts_named = [](const std::string& name) {
    const std::vector<member> all = family();
    return std::find_if(all.begin(), all.end(), [&](const member& f) { return f.name == name; })->parts;
  };
  const auto check_key = [](const model_parts& parts, const std::string& key, const auto& same, const auto& other) {
    CAPTURE(key);
    model_parts m = parts;
    m.set(key, same);
    CHECK(logits_of(model_of(m), tokens()) == logits_of(model_of(parts), tokens()));
    m.set(key, other);
    check_refused(m, errc::unsupported_architecture, key);
  };
  for (const std::string name : {"olmo2", "exaone4", "cohere2"}) {
    const model_parts windowed = parts_named(name == "cohere2" ? name : name + ", windows");
    check_key(windowed, name + ".rope.freq_base_swa", 10000.0f, 500.0f);
    check_key(windowed, name + ".rope.dimension_count_swa", std::uint32_t{16}, std::uint32_t{8});
  }
  for (const std::string name : {"olmoe", "granitemoe"}) {
    check_key(parts_named(name), name + ".expert_gating_func", std::uint32_t{1}, std::uint32_t{2});
    check_key(parts_named(name), name + ".expert_group_count", std::uint32_t{1}, std::uint32_t{2});
  }
  check_key(parts_named("hunyuan-dense"), "hunyuan-dense.expert_count", std::uint32_t{1}, std::uint32_t{2});
  check_key(parts_named("hunyuan-dense"), "hunyuan-dense.rope.scaling.alpha", 0.0f, 1000.0f);
  model_parts glm = parts_named("glm4");
  glm.set_array("glm4.rope.dimension_sections", std::vector<std::int32_t>{0, 0, 0, 0});
  CHECK(logits_of(model_of(glm), tokens()) == logits_of(model_of(parts_named("glm4")), tokens()));
  glm.set_array("glm4.rope.dimension_sections", std::vector<std::int32_t>{8, 12, 12, 0});
  check_refused(glm, errc::unsupported_architecture, "glm4.rope.dimension_sections");
}

TEST_CASE("architecture family: each needs the keys that say its norms, windows and scales") {
  for (const member& f : family()) {
    CAPTURE(f.name);
    const std::string name = f.name.substr(0, f.name.find(','));
    const bool has_layer_norm = name == "starcoder2" || name == "stablelm" || name == "command-r" || name == "cohere2";
    std::vector<std::string> keys = {has_layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"};
    if (name == "granitemoe" || name == "command-r" || name == "cohere2") keys.emplace_back("logit_scale");
    if (name == "granitemoe" || name == "olmoe") keys.emplace_back("expert_used_count");
    if (name == "cohere2") keys.emplace_back("attention.sliding_window");
    for (const std::string& key : keys) {
      model_parts without = f.parts;
      without.erase_key(name + "." + key);
      check_refused(without, errc::missing_key, name + "." + key);
    }
    model_parts zero = f.parts;
    zero.set(name + "." + keys.front(), 0.0f);
    check_refused(zero, errc::bad_value, name + "." + keys.front());
  }
  for (const float scale : {0.0f, -1.0f, std::nanf("")}) {
    model_parts m = command_r_model("command-r");
    m.set("command-r.logit_scale", scale);
    check_refused(m, errc::bad_value, "command-r.logit_scale");
  }
}

TEST_CASE("architecture family: shares of olmoe's experts are of all of them, unless all are in use or the file says that they add up") {
  model_parts few = olmoe_model(), all = few;
  const std::vector<float> of_all = logits_of(model_of(few), tokens());
  few.set("olmoe.expert_weights_norm", true);
  const std::vector<float> of_chosen = logits_of(model_of(few), tokens());
  CHECK(of_chosen != of_all);
  few.set("olmoe.expert_weights_norm", false);
  CHECK(logits_of(model_of(few), tokens()) == of_all);
  few.set("olmoe.expert_gating_func", std::uint32_t{3});   // a softmax over the chosen ones
  CHECK(logits_of(model_of(few), tokens()) == of_chosen);
  all.set("olmoe.expert_used_count", std::uint32_t{4});
  const std::vector<float> unsaid = logits_of(model_of(all), tokens());
  all.set("olmoe.expert_weights_norm", true);
  CHECK(logits_of(model_of(all), tokens()) == unsaid);
}

TEST_CASE("architecture family: granite's scales are 1 where the file says none or 0, but the logits', which it must say") {
  model_parts silent = model_named("granite"), zero = silent, one = silent;
  check_refused(silent, errc::missing_key, "granite.logit_scale");
  for (model_parts* m : {&silent, &zero, &one}) m->set("granite.logit_scale", 2.0f);
  for (const char* const key : {"granite.embedding_scale", "granite.residual_scale", "granite.attention.scale"}) zero.set(key, 0.0f);
  one.set("granite.embedding_scale", 1.0f);
  one.set("granite.residual_scale", 1.0f);
  one.set("granite.attention.scale", 0.25f);   // 1 / sqrt(16)
  const std::vector<float> want = logits_of(model_of(silent), tokens());
  CHECK(logits_of(model_of(zero), tokens()) == want);
  CHECK(logits_of(model_of(one), tokens()) == want);
}

TEST_CASE("architecture family: minicpm's scales are those of its paper where the file says none") {
  const model_parts silent = model_named("minicpm");
  model_parts said = silent;
  said.set("minicpm.embedding_scale", 12.0f);
  said.set("minicpm.residual_scale", 1.4f / std::sqrt(5.0f));
  said.set("minicpm.logit_scale", 64.0f / 256);
  CHECK(logits_of(model_of(silent), tokens()) == logits_of(model_of(said), tokens()));
}

TEST_CASE("architecture family: scales that no model can have are refused by name") {
  const auto with = [](const std::string& architecture, const std::string& key, float value) {
    model_parts m = model_named(architecture);
    if (architecture == "granite") m.set("granite.logit_scale", 2.0f);
    m.set(architecture + "." + key, value);
    return m;
  };
  for (const char* const key : {"embedding_scale", "residual_scale", "logit_scale", "attention.scale"}) {
    for (const float value : {-1.0f, std::nanf(""), INFINITY}) check_refused(with("granite", key, value), errc::bad_value, "granite." + std::string(key));
  }
  check_refused(with("granite", "logit_scale", 0), errc::bad_value, "granite.logit_scale");
  check_refused(with("granite", "logit_scale", 1e-44f), errc::bad_value, "granite.logit_scale");
  check_refused(with("minicpm", "residual_scale", 1e-30f), errc::bad_value, "minicpm.residual_scale");
  check_refused(with("mistral3", "attention.temperature_scale", -1), errc::bad_value, "mistral3.attention.temperature_scale");
}

TEST_CASE("architecture family: gpt-oss with experts in MXFP4 is near what it is with the same experts in float32") {
  const model_parts packed = gpt_oss_model(cria::tensor_type::mxfp4);
  model_parts unpacked = packed;
  for (model_parts::tensor& t : unpacked.tensors) {
    if (t.type != cria::tensor_type::mxfp4) continue;
    std::vector<float> values(t.shape[0] * t.shape[1] * t.shape[2]);
    REQUIRE(cria::dequantize_row(t.type, reinterpret_cast<const std::byte*>(t.data.data()), values));
    t.type = cria::tensor_type::f32;
    t.data = blocks_of(t.type, values);
  }
  const std::vector<float> truth = logits_of<kv_type::f32>(model_of(unpacked), tokens()), got = logits_of<kv_type::f32>(model_of(packed), tokens());
  divergence_sum sum;
  for (std::size_t t = 0; t < tokens().size(); ++t) sum.add(divergence(std::span(truth).subspan(t * 19, 19), std::span(got).subspan(t * 19, 19)));
  CHECK(sum.mean() <= 3e-6);
}

TEST_CASE("architecture family: gpt-oss without a sink, with biases of another shape or windows of another base is refused by name, without biases it runs") {
  const model_parts parts = gpt_oss_model();
  const auto without = [&](const std::string& name) {
    model_parts m = parts;
    m.erase_tensor(name);
    return m;
  };
  const auto reshaped = [&](const std::string& name, const std::vector<std::uint64_t>& shape) {
    model_parts m = parts;
    m.at(name).shape = shape;
    m.at(name).data.clear();
    return m;
  };
  check_refused(without("blk.3.attn_sinks.weight"), errc::missing_tensor, "blk.3.attn_sinks.weight");
  check_refused(reshaped("blk.3.attn_sinks.weight", {5}), errc::bad_shape, "blk.3.attn_sinks.weight");
  check_refused(reshaped("blk.1.ffn_up_exps.bias", {96, 3}), errc::bad_shape, "blk.1.ffn_up_exps.bias");
  check_refused(reshaped("blk.1.ffn_down_exps.bias", {96, 4}), errc::bad_shape, "blk.1.ffn_down_exps.bias");
  model_parts turned = parts;
  turned.set("gpt-oss.rope.freq_base_swa", 500.0f);
  check_refused(turned, errc::unsupported_architecture, "gpt-oss.rope.freq_base_swa");
  const std::vector<float> biased = logits_of(model_of(parts), tokens());
  for (const char* const name : {"blk.1.ffn_gate_exps.bias", "blk.1.ffn_up_exps.bias", "blk.1.ffn_down_exps.bias", "blk.1.ffn_gate_inp.bias"}) {
    CHECK(logits_of(model_of(without(name)), tokens()) != biased);
  }
}

TEST_CASE("architecture family: gpt-oss takes gates and ups beyond the clamps as 7, and NaN stays NaN") {
  model_parts parts = gpt_oss_model(), larger = parts;
  for (const char* const name : {"blk.0.ffn_gate_exps.bias", "blk.0.ffn_up_exps.bias"}) {
    parts.at(name).data = blocks_of(cria::tensor_type::f32, std::vector<float>(96 * 4, 1e6f));
    larger.at(name).data = blocks_of(cria::tensor_type::f32, std::vector<float>(96 * 4, 1e30f));
  }
  CHECK(logits_of(model_of(parts), tokens()) == logits_of(model_of(larger), tokens()));
  parts.at("blk.0.ffn_up_exps.bias").data = blocks_of(cria::tensor_type::f32, std::vector<float>(96 * 4, std::nanf("")));
  const std::vector<float> spoilt = logits_of(model_of(parts), tokens());
  CHECK(std::all_of(spoilt.begin(), spoilt.end(), [](float x) { return std::isnan(x); }));
}
