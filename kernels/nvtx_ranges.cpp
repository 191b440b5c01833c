// The home of the NVTX header.
#include <nvtx3/nvToolsExt.h>

#include "kernels/nvtx.h"

namespace crossover::nvtx {
namespace {

nvtxDomainHandle_t domain() {
  static const nvtxDomainHandle_t kDomain = nvtxDomainCreateA("crossover");
  return kDomain;
}

}  // namespace

bool is_built_in() { return true; }

void push(const char* name) {
  nvtxEventAttributes_t event{};
  event.version = NVTX_VERSION;
  event.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  event.messageType = NVTX_MESSAGE_TYPE_ASCII;
  event.message.ascii = name;
  nvtxDomainRangePushEx(domain(), &event);
}

void pop() { nvtxDomainRangePop(domain()); }

}  // namespace crossover::nvtx
