// SPDX-License-Identifier: MIT
// tests/model/quantize_types.hpp - which type llama-quantize (d32676d, August 2026) gives each tensor: written by make_quantize_types.py.
#pragma once

namespace cria_test {

/// Models of one shape, and the types that they get: kind=letters, a letter for each layer, or one for all; - where llama-quantize refuses.
/// Letters: f 0, h 1, b 30, p 2, q 3, r 6, s 7, 8 8, 2 10, 3 11, 4 12, 5 13, 6 14, n 20, x 23, m 39 (id in files). Norms stay F32.
struct quantized_shape {
  const char* name;
  unsigned layers, dim, ffn, heads, kv_heads, experts;
  bool is_tied, is_fused;
  const char* types[20][2];  ///< file type, types
};

inline constexpr quantized_shape quantized_shapes[] = {
    {"grouped", 24, 256, 256, 8, 1, 0, false, false,
     {{"F32", "token_embd=f output=f attn_q=f attn_k=f attn_v=f attn_output=f ffn_gate=f ffn_up=f ffn_down=f"},
      {"F16", "token_embd=h output=h attn_q=h attn_k=h attn_v=h attn_output=h ffn_gate=h ffn_up=h ffn_down=h"},
      {"BF16", "token_embd=b output=b attn_q=b attn_k=b attn_v=b attn_output=b ffn_gate=b ffn_up=b ffn_down=b"},
      {"Q4_0", "token_embd=p output=6 attn_q=p attn_k=p attn_v=p attn_output=p ffn_gate=p ffn_up=p ffn_down=p"},
      {"Q4_1", "token_embd=q output=6 attn_q=q attn_k=q attn_v=q attn_output=q ffn_gate=q ffn_up=q ffn_down=q"},
      {"Q5_0", "token_embd=r output=6 attn_q=r attn_k=r attn_v=r attn_output=r ffn_gate=r ffn_up=r ffn_down=r"},
      {"Q5_1", "token_embd=s output=6 attn_q=s attn_k=s attn_v=s attn_output=s ffn_gate=s ffn_up=s ffn_down=s"},
      {"Q8_0", "token_embd=8 output=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate=8 ffn_up=8 ffn_down=8"},
      {"Q2_K", "token_embd=2 output=6 attn_q=2 attn_k=2 attn_v=4 attn_output=3 ffn_gate=2 ffn_up=2 ffn_down=3"},
      {"Q3_K_S", "token_embd=3 output=6 attn_q=3 attn_k=3 attn_v=3 attn_output=3 ffn_gate=3 ffn_up=3 ffn_down=3"},
      {"Q3_K_M", "token_embd=3 output=6 attn_q=3 attn_k=3 attn_v=554444444444444444444444 attn_output=4 ffn_gate=3 ffn_up=3 "
       "ffn_down=544444444444444444444444"},
      {"Q3_K_L", "token_embd=3 output=6 attn_q=3 attn_k=3 attn_v=5 attn_output=5 ffn_gate=3 ffn_up=3 ffn_down=5"},
      {"Q4_K_S", "token_embd=4 output=6 attn_q=4 attn_k=4 attn_v=555544444444444444444444 attn_output=4 ffn_gate=4 ffn_up=4 "
       "ffn_down=555444444444444444444444"},
      {"Q4_K_M", "token_embd=4 output=6 attn_q=4 attn_k=4 attn_v=666446446446446446446666 attn_output=4 ffn_gate=4 ffn_up=4 "
       "ffn_down=666446446446446446446666"},
      {"Q5_K_S", "token_embd=5 output=6 attn_q=5 attn_k=5 attn_v=5 attn_output=5 ffn_gate=5 ffn_up=5 ffn_down=5"},
      {"Q5_K_M", "token_embd=5 output=6 attn_q=5 attn_k=5 attn_v=666556556556556556556666 attn_output=5 ffn_gate=5 ffn_up=5 "
       "ffn_down=666556556556556556556666"},
      {"Q6_K", "token_embd=6 output=6 attn_q=6 attn_k=6 attn_v=6 attn_output=6 ffn_gate=6 ffn_up=6 ffn_down=6"},
      {"IQ4_NL", "token_embd=n output=6 attn_q=n attn_k=n attn_v=5 attn_output=n ffn_gate=n ffn_up=n ffn_down=555nnnnnnnnnnnnnnnnnnnnn"},
      {"IQ4_XS", "token_embd=x output=6 attn_q=x attn_k=x attn_v=5 attn_output=x ffn_gate=x ffn_up=x ffn_down=555xxxxxxxxxxxxxxxxxxxxx"},
      {"MXFP4_MOE", "token_embd=8 output=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate=8 ffn_up=8 ffn_down=8"}}},
    {"tied", 10, 256, 512, 4, 4, 0, true, false,
     {{"F32", "token_embd=f attn_q=f attn_k=f attn_v=f attn_output=f ffn_gate=f ffn_up=f ffn_down=f"},
      {"F16", "token_embd=h attn_q=h attn_k=h attn_v=h attn_output=h ffn_gate=h ffn_up=h ffn_down=h"},
      {"BF16", "token_embd=b attn_q=b attn_k=b attn_v=b attn_output=b ffn_gate=b ffn_up=b ffn_down=b"},
      {"Q4_0", "token_embd=6 attn_q=p attn_k=p attn_v=p attn_output=p ffn_gate=p ffn_up=p ffn_down=p"},
      {"Q4_1", "token_embd=6 attn_q=q attn_k=q attn_v=q attn_output=q ffn_gate=q ffn_up=q ffn_down=q"},
      {"Q5_0", "token_embd=6 attn_q=r attn_k=r attn_v=r attn_output=r ffn_gate=r ffn_up=r ffn_down=r"},
      {"Q5_1", "token_embd=6 attn_q=s attn_k=s attn_v=s attn_output=s ffn_gate=s ffn_up=s ffn_down=s"},
      {"Q8_0", "token_embd=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate=8 ffn_up=8 ffn_down=8"},
      {"Q2_K", "token_embd=6 attn_q=2 attn_k=2 attn_v=3 attn_output=3 ffn_gate=2 ffn_up=2 ffn_down=3"},
      {"Q3_K_S", "token_embd=6 attn_q=3 attn_k=3 attn_v=3 attn_output=3 ffn_gate=3 ffn_up=3 ffn_down=3"},
      {"Q3_K_M", "token_embd=6 attn_q=3 attn_k=3 attn_v=5544444444 attn_output=4 ffn_gate=3 ffn_up=3 ffn_down=4"},
      {"Q3_K_L", "token_embd=6 attn_q=3 attn_k=3 attn_v=5 attn_output=5 ffn_gate=3 ffn_up=3 ffn_down=5"},
      {"Q4_K_S", "token_embd=6 attn_q=4 attn_k=4 attn_v=5555444444 attn_output=4 ffn_gate=4 ffn_up=4 ffn_down=5444444444"},
      {"Q4_K_M", "token_embd=6 attn_q=4 attn_k=4 attn_v=6446446466 attn_output=4 ffn_gate=4 ffn_up=4 ffn_down=6446446466"},
      {"Q5_K_S", "token_embd=6 attn_q=5 attn_k=5 attn_v=5 attn_output=5 ffn_gate=5 ffn_up=5 ffn_down=5"},
      {"Q5_K_M", "token_embd=6 attn_q=5 attn_k=5 attn_v=6556556566 attn_output=5 ffn_gate=5 ffn_up=5 ffn_down=6556556566"},
      {"Q6_K", "token_embd=6 attn_q=6 attn_k=6 attn_v=6 attn_output=6 ffn_gate=6 ffn_up=6 ffn_down=6"},
      {"IQ4_NL", "token_embd=6 attn_q=n attn_k=n attn_v=n attn_output=n ffn_gate=n ffn_up=n ffn_down=5nnnnnnnnn"},
      {"IQ4_XS", "token_embd=6 attn_q=x attn_k=x attn_v=x attn_output=x ffn_gate=x ffn_up=x ffn_down=5xxxxxxxxx"},
      {"MXFP4_MOE", "token_embd=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate=8 ffn_up=8 ffn_down=8"}}},
    {"large", 80, 256, 256, 8, 2, 0, false, false,
     {{"F32", "token_embd=f output=f attn_q=f attn_k=f attn_v=f attn_output=f ffn_gate=f ffn_up=f ffn_down=f"},
      {"F16", "token_embd=h output=h attn_q=h attn_k=h attn_v=h attn_output=h ffn_gate=h ffn_up=h ffn_down=h"},
      {"BF16", "token_embd=b output=b attn_q=b attn_k=b attn_v=b attn_output=b ffn_gate=b ffn_up=b ffn_down=b"},
      {"Q4_0", "token_embd=p output=6 attn_q=p attn_k=p attn_v=p attn_output=p ffn_gate=p ffn_up=p ffn_down=p"},
      {"Q4_1", "token_embd=q output=6 attn_q=q attn_k=q attn_v=q attn_output=q ffn_gate=q ffn_up=q ffn_down=q"},
      {"Q5_0", "token_embd=r output=6 attn_q=r attn_k=r attn_v=r attn_output=r ffn_gate=r ffn_up=r ffn_down=r"},
      {"Q5_1", "token_embd=s output=6 attn_q=s attn_k=s attn_v=s attn_output=s ffn_gate=s ffn_up=s ffn_down=s"},
      {"Q8_0", "token_embd=8 output=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate=8 ffn_up=8 ffn_down=8"},
      {"Q2_K", "token_embd=2 output=6 attn_q=2 attn_k=2 attn_v=5 attn_output=3 ffn_gate=2 ffn_up=2 ffn_down=3"},
      {"Q3_K_S", "token_embd=3 output=6 attn_q=3 attn_k=3 attn_v=5 attn_output=3 ffn_gate=3 ffn_up=3 ffn_down=3"},
      {"Q3_K_M", "token_embd=3 output=6 attn_q=3 attn_k=3 attn_v=5 attn_output=4 ffn_gate=3 ffn_up=3 "
       "ffn_down=55555444444444444444444444444444444444444444444444444444444444444444444444444444"},
      {"Q3_K_L", "token_embd=3 output=6 attn_q=3 attn_k=3 attn_v=5 attn_output=5 ffn_gate=3 ffn_up=3 ffn_down=5"},
      {"Q4_K_S", "token_embd=4 output=6 attn_q=4 attn_k=4 attn_v=5 attn_output=4 ffn_gate=4 ffn_up=4 "
       "ffn_down=55555555554444444444444444444444444444444444444444444444444444444444444444444444"},
      {"Q4_K_M", "token_embd=4 output=6 attn_q=4 attn_k=4 attn_v=66666666665565565565565565565565565565565565565565565565565565565565566666666666 "
       "attn_output=4 ffn_gate=4 ffn_up=4 ffn_down=66666666664464464464464464464464464464464464464464464464464464464464466666666666"},
      {"Q5_K_S", "token_embd=5 output=6 attn_q=5 attn_k=5 attn_v=5 attn_output=5 ffn_gate=5 ffn_up=5 ffn_down=5"},
      {"Q5_K_M", "token_embd=5 output=6 attn_q=5 attn_k=5 attn_v=66666666665565565565565565565565565565565565565565565565565565565565566666666666 "
       "attn_output=5 ffn_gate=5 ffn_up=5 ffn_down=66666666665565565565565565565565565565565565565565565565565565565565566666666666"},
      {"Q6_K", "token_embd=6 output=6 attn_q=6 attn_k=6 attn_v=6 attn_output=6 ffn_gate=6 ffn_up=6 ffn_down=6"},
      {"IQ4_NL", "token_embd=n output=6 attn_q=n attn_k=n attn_v=5 attn_output=n ffn_gate=n ffn_up=n "
       "ffn_down=5555555555nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"},
      {"IQ4_XS", "token_embd=x output=6 attn_q=x attn_k=x attn_v=5 attn_output=x ffn_gate=x ffn_up=x "
       "ffn_down=5555555555xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},
      {"MXFP4_MOE", "token_embd=8 output=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate=8 ffn_up=8 ffn_down=8"}}},
    {"few_experts", 9, 256, 256, 4, 2, 4, false, false,
     {{"F32", "token_embd=f output=f attn_q=f attn_k=f attn_v=f attn_output=f ffn_gate_inp=f ffn_gate_exps=f ffn_up_exps=f ffn_down_exps=f"},
      {"F16", "token_embd=h output=h attn_q=h attn_k=h attn_v=h attn_output=h ffn_gate_inp=f ffn_gate_exps=h ffn_up_exps=h ffn_down_exps=h"},
      {"BF16", "token_embd=b output=b attn_q=b attn_k=b attn_v=b attn_output=b ffn_gate_inp=f ffn_gate_exps=b ffn_up_exps=b ffn_down_exps=b"},
      {"Q4_0", "token_embd=p output=6 attn_q=p attn_k=p attn_v=p attn_output=p ffn_gate_inp=f ffn_gate_exps=p ffn_up_exps=p ffn_down_exps=p"},
      {"Q4_1", "token_embd=q output=6 attn_q=q attn_k=q attn_v=q attn_output=q ffn_gate_inp=f ffn_gate_exps=q ffn_up_exps=q ffn_down_exps=q"},
      {"Q5_0", "token_embd=r output=6 attn_q=r attn_k=r attn_v=r attn_output=r ffn_gate_inp=f ffn_gate_exps=r ffn_up_exps=r ffn_down_exps=r"},
      {"Q5_1", "token_embd=s output=6 attn_q=s attn_k=s attn_v=s attn_output=s ffn_gate_inp=f ffn_gate_exps=s ffn_up_exps=s ffn_down_exps=s"},
      {"Q8_0", "token_embd=8 output=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate_inp=f ffn_gate_exps=8 ffn_up_exps=8 ffn_down_exps=8"},
      {"Q2_K", "token_embd=2 output=6 attn_q=2 attn_k=2 attn_v=3 attn_output=3 ffn_gate_inp=f ffn_gate_exps=2 ffn_up_exps=2 ffn_down_exps=3"},
      {"Q3_K_S", "token_embd=3 output=6 attn_q=3 attn_k=3 attn_v=3 attn_output=3 ffn_gate_inp=f ffn_gate_exps=3 ffn_up_exps=3 ffn_down_exps=3"},
      {"Q3_K_M", "token_embd=3 output=6 attn_q=3 attn_k=3 attn_v=554444444 attn_output=4 ffn_gate_inp=f ffn_gate_exps=3 ffn_up_exps=3 "
       "ffn_down_exps=4"},
      {"Q3_K_L", "token_embd=3 output=6 attn_q=3 attn_k=3 attn_v=5 attn_output=5 ffn_gate_inp=f ffn_gate_exps=3 ffn_up_exps=3 ffn_down_exps=5"},
      {"Q4_K_S", "token_embd=4 output=6 attn_q=4 attn_k=4 attn_v=555544444 attn_output=4 ffn_gate_inp=f ffn_gate_exps=4 ffn_up_exps=4 "
       "ffn_down_exps=544444444"},
      {"Q4_K_M", "token_embd=4 output=6 attn_q=4 attn_k=4 attn_v=644644666 attn_output=4 ffn_gate_inp=f ffn_gate_exps=4 ffn_up_exps=4 "
       "ffn_down_exps=644644666"},
      {"Q5_K_S", "token_embd=5 output=6 attn_q=5 attn_k=5 attn_v=5 attn_output=5 ffn_gate_inp=f ffn_gate_exps=5 ffn_up_exps=5 ffn_down_exps=5"},
      {"Q5_K_M", "token_embd=5 output=6 attn_q=5 attn_k=5 attn_v=655655666 attn_output=5 ffn_gate_inp=f ffn_gate_exps=5 ffn_up_exps=5 "
       "ffn_down_exps=655655666"},
      {"Q6_K", "token_embd=6 output=6 attn_q=6 attn_k=6 attn_v=6 attn_output=6 ffn_gate_inp=f ffn_gate_exps=6 ffn_up_exps=6 ffn_down_exps=6"},
      {"IQ4_NL", "token_embd=n output=6 attn_q=n attn_k=n attn_v=n attn_output=n ffn_gate_inp=f ffn_gate_exps=n ffn_up_exps=n "
       "ffn_down_exps=5nnnnnnnn"},
      {"IQ4_XS", "token_embd=x output=6 attn_q=x attn_k=x attn_v=x attn_output=x ffn_gate_inp=f ffn_gate_exps=x ffn_up_exps=x "
       "ffn_down_exps=5xxxxxxxx"},
      {"MXFP4_MOE", "token_embd=8 output=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate_inp=f ffn_gate_exps=m ffn_up_exps=m ffn_down_exps=m"}}},
    {"experts", 16, 256, 256, 8, 2, 8, false, false,
     {{"F32", "token_embd=f output=f attn_q=f attn_k=f attn_v=f attn_output=f ffn_gate_inp=f ffn_gate_exps=f ffn_up_exps=f ffn_down_exps=f"},
      {"F16", "token_embd=h output=h attn_q=h attn_k=h attn_v=h attn_output=h ffn_gate_inp=f ffn_gate_exps=h ffn_up_exps=h ffn_down_exps=h"},
      {"BF16", "token_embd=b output=b attn_q=b attn_k=b attn_v=b attn_output=b ffn_gate_inp=f ffn_gate_exps=b ffn_up_exps=b ffn_down_exps=b"},
      {"Q4_0", "token_embd=p output=6 attn_q=p attn_k=8 attn_v=8 attn_output=p ffn_gate_inp=f ffn_gate_exps=p ffn_up_exps=p ffn_down_exps=p"},
      {"Q4_1", "token_embd=q output=6 attn_q=q attn_k=8 attn_v=8 attn_output=q ffn_gate_inp=f ffn_gate_exps=q ffn_up_exps=q ffn_down_exps=q"},
      {"Q5_0", "token_embd=r output=6 attn_q=r attn_k=8 attn_v=8 attn_output=r ffn_gate_inp=f ffn_gate_exps=r ffn_up_exps=r ffn_down_exps=r"},
      {"Q5_1", "token_embd=s output=6 attn_q=s attn_k=8 attn_v=8 attn_output=s ffn_gate_inp=f ffn_gate_exps=s ffn_up_exps=s ffn_down_exps=s"},
      {"Q8_0", "token_embd=8 output=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate_inp=f ffn_gate_exps=8 ffn_up_exps=8 ffn_down_exps=8"},
      {"Q2_K", "token_embd=2 output=6 attn_q=2 attn_k=8 attn_v=8 attn_output=5 ffn_gate_inp=f ffn_gate_exps=2 ffn_up_exps=2 ffn_down_exps=3"},
      {"Q3_K_S", "token_embd=3 output=6 attn_q=3 attn_k=8 attn_v=8 attn_output=5 ffn_gate_inp=f ffn_gate_exps=3 ffn_up_exps=3 ffn_down_exps=3"},
      {"Q3_K_M", "token_embd=3 output=6 attn_q=3 attn_k=8 attn_v=8 attn_output=5 ffn_gate_inp=f ffn_gate_exps=3 ffn_up_exps=3 "
       "ffn_down_exps=5444444444444444"},
      {"Q3_K_L", "token_embd=3 output=6 attn_q=3 attn_k=8 attn_v=8 attn_output=3 ffn_gate_inp=f ffn_gate_exps=3 ffn_up_exps=3 ffn_down_exps=5"},
      {"Q4_K_S", "token_embd=4 output=6 attn_q=4 attn_k=8 attn_v=8 attn_output=5 ffn_gate_inp=f ffn_gate_exps=4 ffn_up_exps=4 "
       "ffn_down_exps=5544444444444444"},
      {"Q4_K_M", "token_embd=4 output=6 attn_q=4 attn_k=8 attn_v=8 attn_output=5 ffn_gate_inp=f ffn_gate_exps=4 ffn_up_exps=4 "
       "ffn_down_exps=6644644644644666"},
      {"Q5_K_S", "token_embd=5 output=6 attn_q=5 attn_k=8 attn_v=8 attn_output=5 ffn_gate_inp=f ffn_gate_exps=5 ffn_up_exps=5 ffn_down_exps=5"},
      {"Q5_K_M", "token_embd=5 output=6 attn_q=5 attn_k=8 attn_v=8 attn_output=5 ffn_gate_inp=f ffn_gate_exps=5 ffn_up_exps=5 "
       "ffn_down_exps=6655655655655666"},
      {"Q6_K", "token_embd=6 output=6 attn_q=6 attn_k=8 attn_v=8 attn_output=6 ffn_gate_inp=f ffn_gate_exps=6 ffn_up_exps=6 ffn_down_exps=6"},
      {"IQ4_NL", "token_embd=n output=6 attn_q=n attn_k=8 attn_v=8 attn_output=5 ffn_gate_inp=f ffn_gate_exps=n ffn_up_exps=n "
       "ffn_down_exps=55nnnnnnnnnnnnnn"},
      {"IQ4_XS", "token_embd=x output=6 attn_q=x attn_k=8 attn_v=8 attn_output=5 ffn_gate_inp=f ffn_gate_exps=x ffn_up_exps=x "
       "ffn_down_exps=55xxxxxxxxxxxxxx"},
      {"MXFP4_MOE", "token_embd=8 output=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate_inp=f ffn_gate_exps=m ffn_up_exps=m ffn_down_exps=m"}}},
    {"rows_of_96", 8, 96, 160, 3, 1, 0, false, false,
     {{"F32", "token_embd=f output=f attn_q=f attn_k=f attn_v=f attn_output=f ffn_gate=f ffn_up=f ffn_down=f"},
      {"F16", "token_embd=h output=h attn_q=h attn_k=h attn_v=h attn_output=h ffn_gate=h ffn_up=h ffn_down=h"},
      {"BF16", "token_embd=b output=b attn_q=b attn_k=b attn_v=b attn_output=b ffn_gate=b ffn_up=b ffn_down=b"},
      {"Q4_0", "token_embd=p output=8 attn_q=p attn_k=p attn_v=p attn_output=p ffn_gate=p ffn_up=p ffn_down=p"},
      {"Q4_1", "token_embd=q output=8 attn_q=q attn_k=q attn_v=q attn_output=q ffn_gate=q ffn_up=q ffn_down=q"},
      {"Q5_0", "token_embd=r output=8 attn_q=r attn_k=r attn_v=r attn_output=r ffn_gate=r ffn_up=r ffn_down=r"},
      {"Q5_1", "token_embd=s output=8 attn_q=s attn_k=s attn_v=s attn_output=s ffn_gate=s ffn_up=s ffn_down=s"},
      {"Q8_0", "token_embd=8 output=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate=8 ffn_up=8 ffn_down=8"},
      {"Q2_K", "token_embd=p output=8 attn_q=p attn_k=p attn_v=p attn_output=p ffn_gate=p ffn_up=p ffn_down=p"},
      {"Q3_K_S", "token_embd=p output=8 attn_q=p attn_k=p attn_v=p attn_output=p ffn_gate=p ffn_up=p ffn_down=p"},
      {"Q3_K_M", "token_embd=p output=8 attn_q=p attn_k=p attn_v=ssrrrrrr attn_output=r ffn_gate=p ffn_up=p ffn_down=r"},
      {"Q3_K_L", "token_embd=p output=8 attn_q=p attn_k=p attn_v=s attn_output=s ffn_gate=p ffn_up=p ffn_down=s"},
      {"Q4_K_S", "token_embd=r output=8 attn_q=r attn_k=r attn_v=ssssrrrr attn_output=r ffn_gate=r ffn_up=r ffn_down=srrrrrrr"},
      {"Q4_K_M", "token_embd=r output=8 attn_q=r attn_k=r attn_v=8rr8rr88 attn_output=r ffn_gate=r ffn_up=r ffn_down=8rr8rr88"},
      {"Q5_K_S", "token_embd=s output=8 attn_q=s attn_k=s attn_v=s attn_output=s ffn_gate=s ffn_up=s ffn_down=s"},
      {"Q5_K_M", "token_embd=s output=8 attn_q=s attn_k=s attn_v=8ss8ss88 attn_output=s ffn_gate=s ffn_up=s ffn_down=8ss8ss88"},
      {"Q6_K", "token_embd=8 output=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate=8 ffn_up=8 ffn_down=8"},
      {"IQ4_NL", "token_embd=n output=8 attn_q=n attn_k=n attn_v=n attn_output=n ffn_gate=n ffn_up=n ffn_down=snnnnnnn"},
      {"IQ4_XS", "token_embd=n output=8 attn_q=n attn_k=n attn_v=n attn_output=n ffn_gate=n ffn_up=n ffn_down=snnnnnnn"},
      {"MXFP4_MOE", "token_embd=8 output=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate=8 ffn_up=8 ffn_down=8"}}},
    {"rows_of_172", 5, 64, 172, 8, 4, 0, true, false,
     {{"F32", "token_embd=f attn_q=f attn_k=f attn_v=f attn_output=f ffn_gate=f ffn_up=f ffn_down=f"},
      {"F16", "token_embd=h attn_q=h attn_k=h attn_v=h attn_output=h ffn_gate=h ffn_up=h ffn_down=h"},
      {"BF16", "token_embd=b attn_q=b attn_k=b attn_v=b attn_output=b ffn_gate=b ffn_up=b ffn_down=b"},
      {"Q4_0", "-"},
      {"Q4_1", "-"},
      {"Q5_0", "-"},
      {"Q5_1", "-"},
      {"Q8_0", "-"},
      {"Q2_K", "token_embd=8 attn_q=p attn_k=p attn_v=p attn_output=p ffn_gate=p ffn_up=p ffn_down=h"},
      {"Q3_K_S", "token_embd=8 attn_q=p attn_k=p attn_v=p attn_output=p ffn_gate=p ffn_up=p ffn_down=h"},
      {"Q3_K_M", "token_embd=8 attn_q=p attn_k=p attn_v=ssrrr attn_output=r ffn_gate=p ffn_up=p ffn_down=h"},
      {"Q3_K_L", "token_embd=8 attn_q=p attn_k=p attn_v=s attn_output=s ffn_gate=p ffn_up=p ffn_down=h"},
      {"Q4_K_S", "token_embd=8 attn_q=r attn_k=r attn_v=ssssr attn_output=r ffn_gate=r ffn_up=r ffn_down=h"},
      {"Q4_K_M", "token_embd=8 attn_q=r attn_k=r attn_v=rr8r8 attn_output=r ffn_gate=r ffn_up=r ffn_down=h"},
      {"Q5_K_S", "token_embd=8 attn_q=s attn_k=s attn_v=s attn_output=s ffn_gate=s ffn_up=s ffn_down=h"},
      {"Q5_K_M", "token_embd=8 attn_q=s attn_k=s attn_v=ss8s8 attn_output=s ffn_gate=s ffn_up=s ffn_down=h"},
      {"Q6_K", "token_embd=8 attn_q=8 attn_k=8 attn_v=8 attn_output=8 ffn_gate=8 ffn_up=8 ffn_down=h"},
      {"IQ4_NL", "-"},
      {"IQ4_XS", "token_embd=8 attn_q=n attn_k=n attn_v=n attn_output=n ffn_gate=n ffn_up=n ffn_down=h"},
      {"MXFP4_MOE", "-"}}},
    {"fused", 9, 256, 256, 4, 4, 0, false, true,
     {{"F32", "token_embd=f output=f attn_qkv=f attn_output=f ffn_gate=f ffn_up=f ffn_down=f"},
      {"F16", "token_embd=h output=h attn_qkv=h attn_output=h ffn_gate=h ffn_up=h ffn_down=h"},
      {"BF16", "token_embd=b output=b attn_qkv=b attn_output=b ffn_gate=b ffn_up=b ffn_down=b"},
      {"Q4_0", "token_embd=p output=6 attn_qkv=p attn_output=p ffn_gate=p ffn_up=p ffn_down=p"},
      {"Q4_1", "token_embd=q output=6 attn_qkv=q attn_output=q ffn_gate=q ffn_up=q ffn_down=q"},
      {"Q5_0", "token_embd=r output=6 attn_qkv=r attn_output=r ffn_gate=r ffn_up=r ffn_down=r"},
      {"Q5_1", "token_embd=s output=6 attn_qkv=s attn_output=s ffn_gate=s ffn_up=s ffn_down=s"},
      {"Q8_0", "token_embd=8 output=8 attn_qkv=8 attn_output=8 ffn_gate=8 ffn_up=8 ffn_down=8"},
      {"Q2_K", "token_embd=2 output=6 attn_qkv=3 attn_output=3 ffn_gate=2 ffn_up=2 ffn_down=3"},
      {"Q3_K_S", "token_embd=3 output=6 attn_qkv=3 attn_output=3 ffn_gate=3 ffn_up=3 ffn_down=3"},
      {"Q3_K_M", "token_embd=3 output=6 attn_qkv=554444444 attn_output=4 ffn_gate=3 ffn_up=3 ffn_down=4"},
      {"Q3_K_L", "token_embd=3 output=6 attn_qkv=5 attn_output=5 ffn_gate=3 ffn_up=3 ffn_down=5"},
      {"Q4_K_S", "token_embd=4 output=6 attn_qkv=555544444 attn_output=4 ffn_gate=4 ffn_up=4 ffn_down=544444444"},
      {"Q4_K_M", "token_embd=4 output=6 attn_qkv=644644666 attn_output=4 ffn_gate=4 ffn_up=4 ffn_down=644644666"},
      {"Q5_K_S", "token_embd=5 output=6 attn_qkv=5 attn_output=5 ffn_gate=5 ffn_up=5 ffn_down=5"},
      {"Q5_K_M", "token_embd=5 output=6 attn_qkv=655655666 attn_output=5 ffn_gate=5 ffn_up=5 ffn_down=655655666"},
      {"Q6_K", "token_embd=6 output=6 attn_qkv=6 attn_output=6 ffn_gate=6 ffn_up=6 ffn_down=6"},
      {"IQ4_NL", "token_embd=n output=6 attn_qkv=n attn_output=n ffn_gate=n ffn_up=n ffn_down=5nnnnnnnn"},
      {"IQ4_XS", "token_embd=x output=6 attn_qkv=x attn_output=x ffn_gate=x ffn_up=x ffn_down=5xxxxxxxx"},
      {"MXFP4_MOE", "token_embd=8 output=8 attn_qkv=8 attn_output=8 ffn_gate=8 ffn_up=8 ffn_down=8"}}},
};

}  // namespace cria_test
