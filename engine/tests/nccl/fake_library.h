// The fake NCCL as tests see it.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <string>

#include "engine/tests/nccl/fake/nccl_fake.h"
#include "kernels/cuda/emulator/memory.h"
#include "kernels/tests/message_of.h"

namespace crossover::nccl::test {

class FakeNccl : public testing::Test {
 protected:
  FakeNccl() : library_(::dlopen(CROSSOVER_NCCL_FAKE, RTLD_NOW | RTLD_LOCAL)) {
    if (!library_) throw std::runtime_error(::dlerror());
    behave();
  }
  ~FakeNccl() override { behave(); }

  // From now on, as NCCL does; with nothing seen.
  void behave() const {
    reinterpret_cast<decltype(&crossover_nccl_fake_reset)>(::dlsym(library_, "crossover_nccl_fake_reset"))();
    fake().with_memory = [](void (*body)(void*), void* context) {
      const cuda::emulated::OpenMemory open;
      body(context);
    };
  }
  NcclFake& fake() const { return *reinterpret_cast<decltype(&crossover_nccl_fake)>(::dlsym(library_, "crossover_nccl_fake"))(); }

 private:
  void* library_;
};

using crossover::test::message_of;

}  // namespace crossover::nccl::test
