// SPDX-License-Identifier: MIT
// model/minicpm.hpp - the MiniCPM decoder: Granite's equations, with scales that older files leave to the reader.
//
//   e = 12, r = 1.4 / sqrt(layers), l = D / 256              where the file does not say them
//
// Shapes    as model/llama.hpp
// Errors    as model/granite.hpp
// Threads   as model/llama.hpp
// Source    MiniCPM arXiv 2404.06395 (section 3.1 and appendix A: scale_emb, scale_depth, d_base)
#pragma once

#include <cria/model/granite.hpp>

#include <cmath>

namespace cria::inline v0_1_0 {

struct minicpm : granite {
  static result<minicpm> from_metadata(const detail::config_reader& read, const model_config& c) {
    CRIA_TRY(const granite scaled, granite::from_metadata(read, c, {12, 1.4f / std::sqrt(static_cast<float>(c.n_layers)), static_cast<float>(c.dim) / 256}));
    return minicpm{scaled};
  }
};

}  // namespace cria::inline v0_1_0
