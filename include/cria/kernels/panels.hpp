// SPDX-License-Identifier: MIT
// kernels/panels.hpp - the formats that have kernels.
//
// A format joins by its panel (panel.<format>.hpp) and one line here; tests and benchmarks iterate over the same list.
#pragma once

#include <cria/kernels/panel.float.hpp>
#include <cria/kernels/panel.octets.hpp>
#include <cria/kernels/panel.iq4_nl.hpp>
#include <cria/kernels/panel.iq4_xs.hpp>
#include <cria/kernels/panel.mxfp4.hpp>
#include <cria/kernels/panel.q2_k.hpp>
#include <cria/kernels/panel.q3_k.hpp>
#include <cria/kernels/panel.q4_0.hpp>
#include <cria/kernels/panel.q4_1.hpp>
#include <cria/kernels/panel.q4_k.hpp>
#include <cria/kernels/panel.q5_0.hpp>
#include <cria/kernels/panel.q5_1.hpp>
#include <cria/kernels/panel.q5_k.hpp>
#include <cria/kernels/panel.q6_k.hpp>
#include <cria/kernels/panel.q8_0.hpp>
#include <cria/kernels/panel.tq1_0.hpp>
#include <cria/kernels/panel.tq2_0.hpp>
#include <cria/quant/format.hpp>

namespace cria::inline v0_1_0::kernels {

using float_formats = type_list<f32, f16, bf16>;
using quantised_formats = type_list<q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, iq1_s, iq1_m, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, iq4_nl,
                                    iq4_xs, tq1_0, tq2_0, mxfp4>;
static_assert(float_formats::size + quantised_formats::size == n_formats);

}  // namespace cria::inline v0_1_0::kernels
