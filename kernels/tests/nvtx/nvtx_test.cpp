// What a profiler that is there from the start sees of the ranges: a tool built into this program, which NVTX finds by its name.
#include <cstdint>

// The header's own one is weak where the macro is not set, and then this file could not define it.
extern "C" int (*InitializeInjectionNvtx2_fnptr)(const void* (*)(std::uint32_t));
#define NVTX_STATIC_INJECTION_IMPL

#include <gtest/gtest.h>
#include <nvtx3/nvToolsExt.h>

#include <string>
#include <vector>

#include "kernels/nvtx.h"
#include "kernels/trace.h"

namespace crossover {
namespace {

std::vector<std::string>& seen() {
  thread_local std::vector<std::string> events;
  return events;
}

int on_push(nvtxDomainHandle_t, const nvtxEventAttributes_t* event) {
  seen().emplace_back(event->messageType == NVTX_MESSAGE_TYPE_ASCII ? event->message.ascii : "no text");
  return 0;
}

int on_pop(nvtxDomainHandle_t) {
  seen().emplace_back("/");
  return 0;
}

int attach(NvtxGetExportTableFunc_t tables) {
  const auto* callbacks = static_cast<const NvtxExportTableCallbacks*>(tables(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (!callbacks || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size)) return 0;
  *table[NVTX_CBID_CORE2_DomainRangePushEx] = reinterpret_cast<NvtxFunctionPointer>(on_push);
  *table[NVTX_CBID_CORE2_DomainRangePop] = reinterpret_cast<NvtxFunctionPointer>(on_pop);
  return 1;
}

TEST(Nvtx, AnAttachedToolSeesEveryRange) {
  ASSERT_TRUE(nvtx::is_built_in());
  Trace trace;
  seen().clear();
  {
    Range outer(&trace, "gdn.scan");
    { Range inner(&trace, "reduce"); }
    trace.record(false);  // recorded or not
    { Range inner(&trace, "norm"); }
  }
  EXPECT_EQ(seen(), (std::vector<std::string>{"gdn.scan", "reduce", "/", "norm", "/", "/"}));
}

}  // namespace
}  // namespace crossover

NvtxInitializeInjectionNvtxFunc_t InitializeInjectionNvtx2_fnptr = crossover::attach;
