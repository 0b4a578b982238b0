// ProcessGroupNCCL without CUDA's headers and without linking libtorch_cuda, so that one binary runs with and without a
// GPU: its two constructors by name, in memory that is larger than they need (1,112 and 248 bytes in libtorch 2.11.0), and
// everything else through the virtual functions of c10d::Backend. libtorch_cuda must have been loaded with RTLD_GLOBAL.
#include "nccl.h"

#include <dlfcn.h>

#include <cstring>
#include <new>

namespace {
constexpr size_t kGroupBytes = 8192, kOptionsBytes = 2048;
using Store = c10::intrusive_ptr<c10d::Store>;
using Options = c10::intrusive_ptr<c10d::Backend::Options>;

template <class F>
F find(const char* symbol) {
  void* f = dlsym(RTLD_DEFAULT, symbol);
  TORCH_CHECK(f != nullptr, "libtorch_cuda is not loaded, or is another version than 2.11.0: it has no ", symbol);
  return reinterpret_cast<F>(f);
}

void* zeroed(size_t bytes) {
  void* memory = ::operator new(bytes);
  memset(memory, 0, bytes);
  return memory;
}

// c10d::ProcessGroupNCCL::ProcessGroupNCCL(intrusive_ptr<Store>, int, int, intrusive_ptr<Options>)
using NewGroup = void (*)(void*, Store, int, int, Options);
NewGroup find_group() {
  return find<NewGroup>(
      "_ZN4c10d16ProcessGroupNCCLC1EN3c1013intrusive_ptrINS_5StoreENS1_6detail34intrusive_target_default_null_typeIS3_"
      "EEEEiiNS2_INS0_7OptionsENS5_IS8_EEEE");
}

Options make_options() {
  // c10d::ProcessGroupNCCL::Options::Options(bool high_priority)
  auto new_options = find<void (*)(void*, bool)>("_ZN4c10d16ProcessGroupNCCL7OptionsC1Eb");
  void* memory = zeroed(kOptionsBytes);
  new_options(memory, false);
  auto options = Options::unsafe_steal_from_new(static_cast<c10d::Backend::Options*>(memory));
  // What this file assumes of the layout, seen at every start.
  TORCH_CHECK(options->backend == "nccl", "ProcessGroupNCCL::Options of this libtorch is laid out differently from 2.11.0's");
  return options;
}
}  // namespace

void reft_check_nccl() {
  find_group();
  make_options();
}

c10::intrusive_ptr<c10d::Backend> reft_make_nccl(const Store& store, int rank, int world, int device,
                                                 std::chrono::milliseconds timeout) {
  auto new_group = find_group();
  auto options = make_options();
  options->timeout = timeout;
  options->group_name = "reft";
  for (int r = 0; r < world; ++r) options->global_ranks_in_group.push_back(r);

  void* memory = zeroed(kGroupBytes);
  try {
    new_group(memory, store, rank, world, options);
  } catch (...) {
    ::operator delete(memory);
    throw;
  }
  auto group = c10::intrusive_ptr<c10d::Backend>::unsafe_steal_from_new(static_cast<c10d::Backend*>(memory));
  group->setBoundDeviceId(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device)));
  return group;
}
