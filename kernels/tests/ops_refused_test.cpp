// The checked entries: every operation refuses every operand that does not fit, by name, before anything is computed or counted;
// nothing to do is no error; what ran is counted with its cost.
#include <gtest/gtest.h>

#include <bit>
#include <functional>

#include "kernels/cost.h"
#include "kernels/tests/test_context.h"

namespace crossover {
namespace {

using testing::Grid;
using testing::Matrix;
using testing::TestContext;

constexpr std::int64_t kTokens = 3, kDim = 256, kHidden = 128, kExperts = 4;

Rows shifted(Rows rows, std::int64_t by_rows, std::int64_t by_dim) { return {rows.data, rows.rows + by_rows, rows.dim + by_dim, rows.stride + 8}; }
Tensor shaped(Tensor tensor, std::int64_t experts, std::int64_t rows, std::int64_t cols) {
  tensor.shape = {experts, rows, cols};
  return tensor;
}

// Operands that fit every operation; each test changes one. Every buffer has room for what the changed shapes ask for.
struct Operands {
  TestContext context{testing::reference_backend()};
  Grid grid_x{64, 1024}, grid_y{64, 1024}, grid_z{64, 1024}, grid_g{64, 64}, grid_beta{64, 64}, grid_out{64, 1024};
  Rows x{grid_x.data(), kTokens, kDim}, y{grid_y.data(), kTokens, kDim}, z{grid_z.data(), kTokens, kDim}, out{grid_out.data(), kTokens, kDim};
  Rows one{grid_g.data(), kTokens, 1}, angles{grid_y.data(), kTokens, 64};
  Rotation rotation = Rotation::kNone;
  std::int64_t rotated_dim = 0;
  KvCache cache() const { return {weight, rotation, rotated_dim}; }
  Matrix memory{DType::kF32, kExperts + 1, 300, 300};
  Tensor weight = shaped(memory, 1, kDim, kDim), up = weight;
  std::vector<std::int32_t> ids = {0, 1, 3};
  std::vector<float> weights = {0.5f, 0.25f, 0.125f};
  std::vector<float> state = std::vector<float>(4 * 128 * 128);
  Rows logits{grid_x.data(), kTokens, kExperts};
  GdnScan scan;
  Matrix taps{DType::kF32, 9 * 128, 4};
  Grid grid_mixed{8, 1200};
  std::vector<float> conv_state = std::vector<float>(3 * 8 * 128);
  GdnMixer mixer;
  Rows scan_out{grid_out.data(), kTokens, 4 * 128};
  Attention attend;
  Rows attend_out{grid_out.data(), kTokens * 4, 64};
  MoeExperts moe;
  Rows moe_out{grid_out.data(), kTokens, kHidden};

  Operands() {
    for (Grid* grid : {&grid_x, &grid_y, &grid_z, &grid_g, &grid_beta}) grid->set([](std::int64_t, std::int64_t) { return 0.5f; });
    scan = {Rows(grid_x.data(), kTokens, 2 * 128), Rows(grid_y.data(), kTokens, 2 * 128), Rows(grid_z.data(), kTokens, 4 * 128),
            Rows(grid_g.data(), kTokens, 4), Rows(grid_beta.data(), kTokens, 4), state.data(), 2, 4, 128, HeadOrder::kTiled};
    grid_mixed.set([](std::int64_t, std::int64_t) { return 0.5f; });
    mixer = {.mixed = Rows(grid_mixed.data(), kTokens, 8 * 128), .conv = shaped(taps, 1, 8 * 128, 4), .a = scan.g, .b = scan.beta,
             .ssm_a = memory.tensor().f32(), .dt_bias = memory.tensor().f32(), .z = scan.v, .norm = memory.tensor().f32(), .conv_state = conv_state.data(),
             .state = state.data(), .key_heads = 2, .value_heads = 4};
    attend = {Rows(grid_x.data(), kTokens * 4, 64), shaped(memory, 1, 20, 128), shaped(memory, 1, 20, 128), 5, 4, 2, 0.125f,
              Rows(grid_y.data(), kTokens * 4, 64)};
    moe = {Rows(grid_x.data(), kTokens, kHidden), ids, weights, shaped(memory, kExperts, 32, kHidden), shaped(memory, kExperts, 32, kHidden),
           shaped(memory, kExperts, kHidden, 32)};
  }
};

void embed(Operands& o) { op::embed(o.context, o.weight, 0, o.ids, o.out); }
void rms_norm(Operands& o) { op::rms_norm(o.context, o.x, o.weight.f32(), 1e-6f, o.out); }
void add_rms_norm(Operands& o) { op::add_rms_norm(o.context, o.x, o.y, o.weight.f32(), 1e-6f, o.out); }
void l2_norm(Operands& o) { op::l2_norm(o.context, o.x, 1e-6f, 1, o.out); }
void matmul(Operands& o) { op::matmul(o.context, o.x, o.weight, o.out); }
void matmuls(Operands& o) {
  const Projection projections[] = {{o.weight, o.out}, {o.weight, o.y, o.up}};
  op::matmuls(o.context, o.x, projections);
}
void add(Operands& o) { op::add(o.context, o.x, o.y); }
void add_gated(Operands& o) { op::add_gated(o.context, o.x, o.y, o.one); }
void swiglu(Operands& o) { op::swiglu(o.context, o.x, o.y, o.out); }
void sigmoid_gate(Operands& o) { op::sigmoid_gate(o.context, o.x, o.y); }
void conv1d_silu(Operands& o) { op::conv1d_silu(o.context, o.x, o.weight, o.state.data(), o.out); }
void gdn_gates(Operands& o) { op::gdn_gates(o.context, o.x, o.y, o.weights.data(), o.weights.data(), o.z, o.out); }
void gdn_recurrent(Operands& o) { op::gdn_recurrent(o.context, o.scan, o.scan_out); }
void gdn_chunked(Operands& o) { op::gdn_chunked(o.context, o.scan, o.scan_out); }
void gdn_mixer(Operands& o) { op::gdn_mixer(o.context, o.mixer, o.scan_out); }
void gated_rms_norm(Operands& o) { op::gated_rms_norm(o.context, o.x, o.weight.f32(), o.z, 1e-6f, o.out); }
void kv_write(Operands& o) { op::kv_write(o.context, o.x, o.cache(), 2); }
void attention(Operands& o) { op::attention(o.context, o.attend, o.attend_out); }
void moe_route(Operands& o) { op::moe_route(o.context, o.logits, 1, true, o.ids, o.weights); }
void moe_experts(Operands& o) { op::moe_experts(o.context, o.moe, o.moe_out); }
void rope_angles(Operands& o) { op::rope_angles(o.context, 0, 1e7, o.angles); }
auto norm_rope(std::int64_t heads) {
  return [=](Operands& o) { op::norm_rope(o.context, o.x, o.weight.f32(), 1e-6f, heads, o.angles); };
}
auto rotate(Rotation rotation) {
  return [=](Operands& o) { op::rotate(o.context, o.x, rotation, false); };
}

struct Refusal {
  const char* op;
  const char* operand;  // what the message must name
  std::function<void(Operands&)> change;
  std::function<void(Operands&)> call;
};

#define ROWS_REFUSALS(op_, member, operand)                                                       \
  Refusal{#op_, operand, [](Operands& o) { o.member = shifted(o.member, 1, 0); }, op_},           \
  Refusal{#op_, operand, [](Operands& o) { o.member = shifted(o.member, 0, 1); }, op_},           \
  Refusal{#op_, operand, [](Operands& o) { o.member.stride = o.member.dim - 1; }, op_},           \
  Refusal{#op_, operand, [](Operands& o) { o.member.data = nullptr; }, op_}
#define VIEW_REFUSALS(op_, member, operand)                                                       \
  Refusal{#op_, operand, [](Operands& o) { ++o.member.rows; }, op_},                              \
  Refusal{#op_, operand, [](Operands& o) { ++o.member.dim, ++o.member.stride; }, op_},            \
  Refusal{#op_, operand, [](Operands& o) { o.member.stride = o.member.dim - 1; }, op_},           \
  Refusal{#op_, operand, [](Operands& o) { o.member.data = nullptr; }, op_}
#define MATRIX_REFUSALS(op_, member, operand, cols_)                                              \
  Refusal{#op_, operand, [](Operands& o) { o.member.shape[0] = 2; }, op_},                        \
  Refusal{#op_, operand, [](Operands& o) { o.member.shape[2] = cols_; }, op_},                    \
  Refusal{#op_, operand, [](Operands& o) { o.member.data = nullptr; }, op_}

std::vector<Refusal> row_refusals() {
  return {
      ROWS_REFUSALS(rms_norm, out, "out"), ROWS_REFUSALS(l2_norm, out, "out"), ROWS_REFUSALS(add_rms_norm, y, "y"),
      ROWS_REFUSALS(add_rms_norm, out, "out"), ROWS_REFUSALS(gated_rms_norm, out, "out"),
      ROWS_REFUSALS(gated_rms_norm, z, "z"), ROWS_REFUSALS(add, y, "y"), ROWS_REFUSALS(add_gated, y, "y"),
      ROWS_REFUSALS(add_gated, one, "gate"), ROWS_REFUSALS(sigmoid_gate, y, "gate"), ROWS_REFUSALS(swiglu, x, "gate"),
      ROWS_REFUSALS(swiglu, y, "up"), ROWS_REFUSALS(conv1d_silu, out, "out"), ROWS_REFUSALS(gdn_gates, y, "b"),
      ROWS_REFUSALS(gdn_gates, z, "g"), ROWS_REFUSALS(gdn_gates, out, "beta"), ROWS_REFUSALS(matmul, out, "out"),
      ROWS_REFUSALS(matmuls, out, "out"), ROWS_REFUSALS(matmuls, y, "out"),
      {"rms_norm", "x", [](Operands& o) { o.x.data = nullptr; }, rms_norm},
      {"rms_norm", "x", [](Operands& o) { o.x.rows = o.out.rows = -1; }, rms_norm},
      {"rms_norm", "weight", [](Operands& o) { o.weight.data = nullptr; }, rms_norm},
      {"add_rms_norm", "weight", [](Operands& o) { o.weight.data = nullptr; }, add_rms_norm},
      {"add_rms_norm", "eps", [](Operands&) {}, [](Operands& o) { op::add_rms_norm(o.context, o.x, o.y, o.weight.f32(), -1, o.out); }},
      {"gated_rms_norm", "weight", [](Operands& o) { o.weight.data = nullptr; }, gated_rms_norm},
      {"rms_norm", "eps", [](Operands&) {}, [](Operands& o) { op::rms_norm(o.context, o.x, o.weight.f32(), -1e-6f, o.out); }},
      {"l2_norm", "eps", [](Operands&) {}, [](Operands& o) { op::l2_norm(o.context, o.x, std::nanf(""), 1, o.out); }},
      {"gated_rms_norm", "eps", [](Operands&) {}, [](Operands& o) { op::gated_rms_norm(o.context, o.x, o.weight.f32(), o.z, -1, o.out); }},
      {"gdn_gates", "ssm_a", [](Operands&) {}, [](Operands& o) { op::gdn_gates(o.context, o.x, o.y, nullptr, o.weights.data(), o.z, o.out); }},
      {"gdn_gates", "dt_bias", [](Operands&) {}, [](Operands& o) { op::gdn_gates(o.context, o.x, o.y, o.weights.data(), nullptr, o.z, o.out); }},
      {"conv1d_silu", "weight", [](Operands& o) { o.weight = shaped(o.weight, 1, kDim, 3); }, conv1d_silu},
      {"conv1d_silu", "weight", [](Operands& o) { o.weight = shaped(o.weight, 1, kDim, 4), o.weight.dtype = DType::kF16; }, conv1d_silu},
      {"conv1d_silu", "state", [](Operands& o) { o.weight = shaped(o.weight, 1, kDim, 4); },
       [](Operands& o) { op::conv1d_silu(o.context, o.x, o.weight, nullptr, o.out); }},
      {"rope_angles", "first_position", [](Operands&) {}, [](Operands& o) { op::rope_angles(o.context, -1, 1e7, o.angles); }},
      {"rope_angles", "theta", [](Operands&) {}, [](Operands& o) { op::rope_angles(o.context, 0, 0, o.angles); }},
      {"rope_angles", "dim of out", [](Operands& o) { o.angles.dim = 63; }, rope_angles},
      {"rope_angles", "out", [](Operands& o) { o.angles.data = nullptr; }, rope_angles},
      {"norm_rope", "heads", [](Operands&) {}, norm_rope(0)},
      {"norm_rope", "rows of x", [](Operands&) {}, norm_rope(2)},
      {"norm_rope", "angles", [](Operands& o) { o.angles.rows = 2; }, norm_rope(1)},
      {"norm_rope", "dim of angles", [](Operands& o) { o.angles.dim = 63; }, norm_rope(1)},
      {"norm_rope", "dim of x", [](Operands& o) { o.angles.dim = o.angles.stride = 258; }, norm_rope(1)},
      {"norm_rope", "x", [](Operands& o) { o.x.data = nullptr; }, norm_rope(1)},
      {"norm_rope", "weight", [](Operands&) {}, [](Operands& o) { op::norm_rope(o.context, o.x, nullptr, 0, 3, o.angles); }},
      {"norm_rope", "eps", [](Operands&) {}, [](Operands& o) { op::norm_rope(o.context, o.x, o.weight.f32(), -1, 3, o.angles); }},
      {"rotate", "x", [](Operands& o) { o.x.data = nullptr; }, rotate(Rotation::kHadamard)},
      {"rotate", "rotation fwht", [](Operands& o) { o.x.dim = 255; }, rotate(Rotation::kHadamard)},
      {"rotate", "rotation fwht", [](Operands& o) { o.x.dim = 8; }, rotate(Rotation::kHadamard)},
      {"rotate", "rotation signed", [](Operands& o) { o.x.dim = 192; }, rotate(Rotation::kSigned)},
  };
}

std::vector<Refusal> matrix_refusals() {
  return {
      {"embed", "table", [](Operands& o) { o.weight.shape[0] = 2; }, embed},
      {"embed", "table", [](Operands& o) { o.weight.data = nullptr; }, embed},
      {"embed", "out", [](Operands& o) { o.weight.shape[2] = 255; }, embed}, {"embed", "out", [](Operands& o) { o.out = shifted(o.out, 0, 1); }, embed},
      {"embed", "ids", [](Operands& o) { ++o.out.rows; }, embed},
      {"embed", "ids", [](Operands& o) { o.ids.pop_back(); }, embed},
      {"embed", "first_row", [](Operands&) {}, [](Operands& o) { op::embed(o.context, o.weight, -1, o.ids, o.out); }},
      MATRIX_REFUSALS(matmul, weight, "weight", 255),
      {"matmul", "out", [](Operands& o) { o.weight.shape[1] = 255; }, matmul},
      {"matmul", "weight", [](Operands& o) { o.weight.dtype = DType::kQ6_K, o.weight.shape[2] = o.x.dim = 128; }, matmul},
      MATRIX_REFUSALS(matmuls, weight, "weight", 255),
      {"matmuls", "up", [](Operands& o) { o.up.shape[0] = 2; }, matmuls},
      {"matmuls", "up", [](Operands& o) { o.up.shape[1] = kDim - 1; }, matmuls},
      {"matmuls", "up", [](Operands& o) { o.up.shape[2] = kDim - 1; }, matmuls},
      {"matmuls", "projections", [](Operands&) {},
       [](Operands& o) { op::matmuls(o.context, o.x, std::vector<Projection>(kMaxProjections + 1, Projection{o.weight, o.out})); }},
      {"moe_route", "k", [](Operands&) {}, [](Operands& o) { op::moe_route(o.context, o.logits, 0, true, {}, {}); }},
      {"moe_route", "experts", [](Operands&) {}, [](Operands& o) { op::moe_route(o.context, o.logits, kExperts + 1, true, o.ids, o.weights); }},
      {"moe_route", "ids", [](Operands& o) { o.ids.pop_back(); }, moe_route},
      {"moe_route", "weights", [](Operands& o) { o.weights.push_back(1); }, moe_route},
      {"moe_route", "logits", [](Operands& o) { o.logits.data = nullptr; }, moe_route},
      ROWS_REFUSALS(moe_experts, moe_out, "out"),
      {"moe_experts", "gate", [](Operands& o) { o.moe.gate.shape[2] = 127; }, moe_experts},
      {"moe_experts", "gate", [](Operands& o) { o.moe.gate.data = nullptr; }, moe_experts},
      {"moe_experts", "up", [](Operands& o) { o.moe.gate.shape[0] = 2; }, moe_experts},
      MATRIX_REFUSALS(moe_experts, moe.up, "up", 127),
      MATRIX_REFUSALS(moe_experts, moe.down, "down", 31),
      {"moe_experts", "up", [](Operands& o) { o.moe.up.shape[1] = 31; }, moe_experts},
      {"moe_experts", "down", [](Operands& o) { o.moe.down.shape[1] = 127; }, moe_experts},
      {"moe_experts", "weights", [](Operands& o) { o.moe.weights = o.moe.weights.first(2); }, moe_experts},
      {"moe_experts", "number of ids", [](Operands& o) { o.moe.ids = o.moe.ids.first(2), o.moe.weights = o.moe.weights.first(2); }, moe_experts},
      {"moe_experts", "ids", [](Operands& o) { o.ids[1] = kExperts; }, moe_experts},
      {"moe_experts", "ids", [](Operands& o) { o.ids[1] = -1; }, moe_experts},
  };
}

std::vector<Refusal> sequence_refusals() {
  std::vector<Refusal> refusals = {
      VIEW_REFUSALS(gdn_recurrent, scan.q, "q"), VIEW_REFUSALS(gdn_recurrent, scan.k, "k"), VIEW_REFUSALS(gdn_recurrent, scan.v, "v"),
      VIEW_REFUSALS(gdn_recurrent, scan.g, "g"), VIEW_REFUSALS(gdn_recurrent, scan.beta, "beta"),
      {"gdn_recurrent", "out", [](Operands& o) { ++o.scan_out.dim, ++o.scan_out.stride; }, gdn_recurrent},
      {"gdn_recurrent", "out", [](Operands& o) { o.scan_out.data = nullptr; }, gdn_recurrent},
      {"gdn_recurrent", "state", [](Operands& o) { o.scan.state = nullptr; }, gdn_recurrent},
      {"gdn_recurrent", "head_dim", [](Operands& o) { o.scan.head_dim = 64; }, gdn_recurrent},
      {"gdn_recurrent", "value_heads", [](Operands& o) { o.scan.key_heads = 3; }, gdn_recurrent},
      {"gdn_recurrent", "value_heads", [](Operands& o) { o.scan.key_heads = 0; }, gdn_recurrent},
      {"gdn_recurrent", "key_heads", [](Operands& o) { o.scan.key_heads = -2; }, gdn_recurrent},
      {"gdn_chunked", "q", [](Operands& o) { ++o.scan.q.rows; }, gdn_chunked},
      {"gdn_chunked", "state", [](Operands& o) { o.scan.state = nullptr; }, gdn_chunked},
      {"gdn_chunked", "head_dim", [](Operands& o) { o.scan.head_dim = 256; }, gdn_chunked},
      VIEW_REFUSALS(gdn_mixer, mixer.mixed, "mixed"), VIEW_REFUSALS(gdn_mixer, mixer.a, "a"), VIEW_REFUSALS(gdn_mixer, mixer.b, "b"),
      VIEW_REFUSALS(gdn_mixer, mixer.z, "z"), MATRIX_REFUSALS(gdn_mixer, mixer.conv, "conv", 3),
      {"gdn_mixer", "conv", [](Operands& o) { o.mixer.conv.dtype = DType::kBF16; }, gdn_mixer},
      {"gdn_mixer", "out", [](Operands& o) { o.scan_out.data = nullptr; }, gdn_mixer},
      {"gdn_mixer", "ssm_a", [](Operands& o) { o.mixer.ssm_a = nullptr; }, gdn_mixer},
      {"gdn_mixer", "dt_bias", [](Operands& o) { o.mixer.dt_bias = nullptr; }, gdn_mixer},
      {"gdn_mixer", "norm", [](Operands& o) { o.mixer.norm = nullptr; }, gdn_mixer},
      {"gdn_mixer", "eps", [](Operands& o) { o.mixer.norm_eps = -1; }, gdn_mixer},
      {"gdn_mixer", "conv_state", [](Operands& o) { o.mixer.conv_state = nullptr; }, gdn_mixer},
      {"gdn_mixer", "state", [](Operands& o) { o.mixer.state = nullptr; }, gdn_mixer},
      {"gdn_mixer", "head_dim", [](Operands& o) { o.mixer.head_dim = 64; }, gdn_mixer},
      {"gdn_mixer", "value_heads", [](Operands& o) { o.mixer.key_heads = 3; }, gdn_mixer},
      {"gdn_mixer", "conv_out", [](Operands& o) { o.mixer.conv_out = shifted(o.y, 0, 1); }, gdn_mixer},
      {"gdn_mixer", "g", [](Operands& o) { o.mixer.g = shifted(o.y, 0, 1); }, gdn_mixer},
      {"gdn_mixer", "beta", [](Operands& o) { o.mixer.beta = shifted(o.y, 1, 0); }, gdn_mixer},
      MATRIX_REFUSALS(kv_write, weight, "cache", 255),
      {"kv_write", "x", [](Operands& o) { o.x.data = nullptr; }, kv_write},
      {"kv_write", "rotation fwht", [](Operands& o) { o.rotation = Rotation::kHadamard, o.rotated_dim = 0; }, kv_write},
      {"kv_write", "rotation signed", [](Operands& o) { o.rotation = Rotation::kSigned, o.rotated_dim = 64; }, kv_write},
      {"kv_write", "dim of x", [](Operands& o) { o.rotation = Rotation::kSigned, o.rotated_dim = 384; }, kv_write},
      {"kv_write", "cache", [](Operands& o) { o.weight.shape[1] = 4; }, kv_write},
      {"kv_write", "first_row", [](Operands&) {}, [](Operands& o) { op::kv_write(o.context, o.x, o.cache(), -1); }},
      VIEW_REFUSALS(attention, attend.q, "q"),
      {"attention", "gate", [](Operands& o) { ++o.attend.gate.rows; }, attention},
      {"attention", "gate", [](Operands& o) { --o.attend.gate.dim; }, attention},
      MATRIX_REFUSALS(attention, attend.keys.rows, "keys", 127), MATRIX_REFUSALS(attention, attend.values.rows, "values", 127),
      {"attention", "rotation signed", [](Operands& o) { o.attend.keys.rotation = Rotation::kSigned; }, attention},
      {"attention", "values", [](Operands& o) { o.attend.values.rotation = Rotation::kHadamard; }, attention},
      {"attention", "keys", [](Operands& o) { o.attend.keys.rows.shape[1] = 7; }, attention},
      {"attention", "values", [](Operands& o) { o.attend.past = 18; o.attend.keys.rows.shape[1] = 30; }, attention},
      {"attention", "keys", [](Operands& o) { o.attend.keys.rows.dtype = DType::kQ6_K; }, attention},
      {"attention", "heads", [](Operands& o) { o.attend.heads = 0; }, attention},
      {"attention", "heads", [](Operands& o) { o.attend.kv_heads = 3; }, attention},
      {"attention", "kv_heads", [](Operands& o) { o.attend.kv_heads = 0; }, attention},
      {"attention", "past", [](Operands& o) { o.attend.past = -1; }, attention},
      {"attention", "rows of out", [](Operands& o) { o.attend_out.rows = 11; }, attention},
      {"attention", "out", [](Operands& o) { o.attend_out.data = nullptr; }, attention},
  };
  return refusals;
}

TEST(OpRefused, EveryOperandThatDoesNotFitIsNamed) {
  for (const auto& list : {row_refusals(), matrix_refusals(), sequence_refusals()})
    for (std::size_t i = 0; i < list.size(); ++i) {
      const Refusal& refusal = list[i];
      Operands operands;
      refusal.change(operands);
      try {
        refusal.call(operands);
        ADD_FAILURE() << refusal.op << " took a wrong " << refusal.operand << " (case " << i << ")";
      } catch (const std::invalid_argument& error) {
        const std::string start = std::string(refusal.op) + ": " + refusal.operand;
        EXPECT_EQ(std::string(error.what()).substr(0, start.size()), start) << error.what();
        EXPECT_NE(std::string(error.what()).find("asked for "), std::string::npos) << error.what();
        EXPECT_NE(std::string(error.what()).find("found "), std::string::npos) << error.what();
      }
      EXPECT_TRUE(operands.context.counters.counts.empty()) << refusal.op << " was counted though refused";
    }
}

TEST(OpRefused, MessageTellsAskedAndFound) {
  Operands o;
  o.out.dim = 255;
  try {
    matmul(o);
    FAIL() << "no exception";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "matmul: out: asked for [3, 256], found [3, 255]");
  }
}

// Every entry with the operands as they are, so that the refusals above are due to the one change.
std::vector<std::pair<const char*, std::function<void(Operands&)>>> accepted() {
  return {{"embed", embed}, {"rms_norm", rms_norm}, {"l2_norm", l2_norm}, {"add_rms_norm", add_rms_norm}, {"matmul", matmul}, {"matmuls", matmuls}, {"add", add}, {"add_gated", add_gated},
          {"swiglu", swiglu}, {"sigmoid_gate", sigmoid_gate},
          {"conv1d_silu", [](Operands& o) { o.weight = shaped(o.weight, 1, kDim, 4), conv1d_silu(o); }},
          {"gdn_gates", [](Operands& o) { o.x.dim = o.y.dim = o.z.dim = o.out.dim = 3, gdn_gates(o); }},
          {"gdn_recurrent", gdn_recurrent}, {"gdn_chunked", gdn_chunked}, {"gdn_mixer", gdn_mixer}, {"gated_rms_norm", gated_rms_norm}, {"rope_angles", rope_angles}, {"norm_rope", norm_rope(1)},
          {"rotate", rotate(Rotation::kHadamard)},
          {"kv_write", kv_write}, {"attention", attention}, {"moe_route", moe_route}, {"moe_experts", moe_experts}};
}

TEST(OpCounted, OneLaunchWithItsBytesAndFlops) {
  ASSERT_EQ(accepted().size(), 23u);
  for (const auto& [name, call] : accepted()) {
    Operands o;
    call(o);
    const auto& counts = o.context.counters.counts;
    ASSERT_EQ(counts.size(), 3u) << name;
    EXPECT_EQ(counts.at(std::string("launches.") + name), 1);
    EXPECT_GT(counts.at(std::string("bytes.") + name), 0);
    const bool moves_only = std::string_view(name) == "embed" || std::string_view(name) == "kv_write";
    EXPECT_EQ(counts.at(std::string("flops.") + name) > 0, !moves_only) << name;
    call(o);
    EXPECT_EQ(counts.at(std::string("launches.") + name), 2);
  }
}

TEST(OpCounted, NothingToDoIsNeitherAnErrorNorALaunch) {
  TestContext context(testing::reference_backend());
  const Rows none(nullptr, 0, 256), narrow(nullptr, 0, 2);
  const Matrix weight(DType::kF32, 256, 256), taps(DType::kF32, 512, 4);
  const float* vector = weight.tensor().f32();
  Grid state(1, 2 * 128 * 128);
  state.set([](std::int64_t, std::int64_t i) { return static_cast<float>(i); });
  const Grid before = state;
  op::embed(context, weight, 0, {}, none);
  op::rms_norm(context, none, vector, 0, none);
  op::add_rms_norm(context, none, none, vector, 0, none);
  op::l2_norm(context, none, 0, 1, none);
  op::matmul(context, none, weight, none);
  const Projection nothing{weight, none, weight};
  op::matmuls(context, none, {&nothing, 1});
  op::matmuls(context, none, {});
  op::add(context, none, none);
  op::add_gated(context, none, none, {nullptr, 0, 1});
  op::swiglu(context, none, none, none);
  op::sigmoid_gate(context, none, none);
  op::conv1d_silu(context, none, shaped(taps, 1, 256, 4), state.data(), none);
  op::gdn_gates(context, narrow, narrow, vector, vector, narrow, narrow);
  const Rows key(nullptr, 0, 128);
  op::gdn_recurrent(context, {key, key, none, narrow, narrow, state.data(), 1, 2, 128, HeadOrder::kTiled}, none);
  op::gdn_chunked(context, {key, key, none, narrow, narrow, state.data(), 1, 2, 128, HeadOrder::kTiled}, none);
  op::gdn_mixer(context, {.mixed = Rows(nullptr, 0, 512), .conv = Tensor{taps.tensor().data, DType::kF32, {1, 512, 4}}, .a = narrow, .b = narrow,
                          .ssm_a = vector, .dt_bias = vector, .z = none, .norm = vector, .conv_state = state.data(), .state = state.data(),
                          .key_heads = 1, .value_heads = 2}, none);
  op::gated_rms_norm(context, none, vector, none, 0, none);
  op::rope_angles(context, 0, 1e7, none);
  op::norm_rope(context, none, vector, 0, 3, {nullptr, 0, 64});
  op::rotate(context, none, Rotation::kHadamard, false);
  op::rotate(context, state, Rotation::kNone, false);
  op::kv_write(context, none, weight.tensor(), 256);
  op::attention(context, {none, weight.tensor(), weight.tensor(), 0, 2, 1, 1}, none);
  op::moe_route(context, none, 8, true, {}, {});
  op::moe_experts(context, {none, {}, {}, weight, weight, weight}, none);
  EXPECT_TRUE(context.counters.counts.empty());
  EXPECT_EQ(testing::relative_error(state, before), 0);
}

// The formulas against figures of the published shapes.
TEST(OpCost, AgreesWithTheSpecifiedFigures) {
  // 27B: one token of the recurrence over 48 heads of 48 layers is 0.264 GFLOP and moves 302 MB of state.
  GdnScan scan{Rows(nullptr, 1, 2048), Rows(nullptr, 1, 2048), Rows(nullptr, 1, 6144), Rows(nullptr, 1, 48), Rows(nullptr, 1, 48), nullptr, 16, 48};
  const cost::Cost recurrent = cost::gdn_recurrent(scan, Rows(nullptr, 1, 6144));
  EXPECT_EQ(48 * recurrent.flops, 264241152);
  EXPECT_EQ(48 * recurrent.bytes, 301989888 + 48 * 4 * (2048 + 2048 + 6144 + 48 + 48 + 6144));
  EXPECT_EQ(cost::gdn_chunked(scan, Rows(nullptr, 1, 6144)).flops, 48 * (6 * 128 * 128 + 2 * 16 * 128) + 16 * 2 * 16 * 128);

  // 35B: a decoded token reads 8 of 256 experts of 2,580,480 B each in Q6_K.
  MoeExperts moe;
  const std::vector<std::int32_t> ids(8);
  moe.x = Rows(nullptr, 1, 2048);
  moe.ids = ids;
  moe.gate = moe.up = {nullptr, DType::kQ6_K, {256, 512, 2048}};
  moe.down = {nullptr, DType::kQ6_K, {256, 2048, 512}};
  const cost::Cost experts = cost::moe_experts(moe, 8, Rows(nullptr, 1, 2048));
  EXPECT_EQ(experts.bytes, 8 * 2580480 + 8 * 8 + 2 * 2048 * 4);
  EXPECT_EQ(experts.flops, 8 * (2 * 3 * 512 * 2048 + 5 * 512 + 2 * 2048));

  // 27B: a down projection is 73,113,600 B in Q6_K.
  const Tensor down{nullptr, DType::kQ6_K, {1, 5120, 17408}};
  EXPECT_EQ(cost::matmul(Rows(nullptr, 2, 17408), down, Rows(nullptr, 2, 5120)).bytes, 73113600 + 2 * 4 * (17408 + 5120));
  EXPECT_EQ(cost::matmul(Rows(nullptr, 2, 17408), down, Rows(nullptr, 2, 5120)).flops, 2LL * 2 * 17408 * 5120);

  // The three projections of 27B's gated feed-forward: x is read once.
  const Tensor wide{std::bit_cast<std::byte*>(&down), DType::kQ6_K, {1, 17408, 5120}};
  const Projection gated{wide, Rows(nullptr, 2, 17408), wide};
  EXPECT_EQ(cost::matmuls(Rows(nullptr, 2, 5120), {&gated, 1}).bytes, 2 * 73113600 + 2 * 4 * (17408 + 5120));
  EXPECT_EQ(cost::matmuls(Rows(nullptr, 2, 5120), {&gated, 1}).flops, 2LL * 17408 * (2 * 2 * 5120 + 5));

  // 27B: attention at context n is 393,216 n over 16 layers, and 65,536 B of bf16 cache per token of context.
  Attention attend;
  attend.q = Rows(nullptr, 24, 256);
  attend.keys.rows = attend.values.rows = {nullptr, DType::kBF16, {1, 4096, 1024}};
  attend.past = 4095, attend.heads = 24, attend.kv_heads = 4;
  const cost::Cost attention_cost = cost::attention(attend, Rows(nullptr, 24, 256));
  EXPECT_EQ(16 * attention_cost.flops, 393216LL * 4096 + 16LL * 5 * 24 * 4096);
  EXPECT_EQ(16 * attention_cost.bytes, 65536LL * 4096 + 16 * 2 * 24 * 256 * 4);
}

}  // namespace
}  // namespace crossover
