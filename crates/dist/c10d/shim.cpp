// The border between Rust and libtorch's c10d: a store, a backend over it, collectives. Every call returns 0, or 1 with a
// message in `*error` that the caller frees with free(). A call that fails may leave a thread of the backend reading and
// writing its tensors, so the caller must keep them.
#define USE_C10D_GLOO
#include <ATen/core/Tensor.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <cstring>
#include <mutex>

#include "nccl.h"

struct reft_store {
  c10::intrusive_ptr<c10d::Store> store;
};
struct reft_backend {
  c10::intrusive_ptr<c10d::Backend> backend;
};
using ms = std::chrono::milliseconds;

namespace {
template <class F>
int guarded(char** error, F&& f) {
  try {
    f();
    return 0;
  } catch (const c10::Error& e) {
    *error = strdup(e.what_without_backtrace());
  } catch (const std::exception& e) {
    *error = strdup(e.what());
  } catch (...) {
    *error = strdup("not a std::exception");
  }
  return 1;
}

// Begins a collective and waits for it. libtorch's flight recorder is one for the process and is written to without a lock
// where work begins, which ranks that are threads of one process must not do at once.
template <class F>
void finish(F&& begin) {
  static std::mutex beginning;
  c10::intrusive_ptr<c10d::Work> work;
  {
    std::lock_guard<std::mutex> lock(beginning);
    work = begin();
  }
  work->wait();
}
}  // namespace

extern "C" {

// listen_fd: a bound and listening socket that this process serves the store on, or -1 where another does.
int reft_store_tcp(const char* host, int port, int world, int listen_fd, int64_t timeout, reft_store** out, char** error) {
  static const bool logging = (c10::initLogging(), true);  // TORCH_CPP_LOG_LEVEL counts only after it
  (void)logging;
  return guarded(error, [&] {
    c10d::TCPStoreOptions o;
    o.port = static_cast<uint16_t>(port);
    o.isServer = listen_fd >= 0;
    if (listen_fd >= 0) o.masterListenFd = listen_fd;
    o.numWorkers = world;
    o.waitWorkers = false;
    o.timeout = ms(timeout);
    *out = new reft_store{c10::make_intrusive<c10d::TCPStore>(host, o)};
  });
}
int reft_store_set(reft_store* s, const char* key, const char* value, char** error) {
  return guarded(error, [&] { s->store->set(key, std::vector<uint8_t>(value, value + strlen(value))); });
}
// Waits until the key is there.
int reft_store_wait(reft_store* s, const char* key, int64_t timeout, char** error) {
  return guarded(error, [&] { s->store->wait({key}, ms(timeout)); });
}
void reft_store_free(reft_store* s) { delete s; }

// device: an index for "nccl", ignored for "gloo". `name` separates backends on one store.
int reft_backend_new(reft_store* s, const char* name, const char* kind, int rank, int world, int device, int64_t timeout,
                     reft_backend** out, char** error) {
  return guarded(error, [&] {
    auto store = c10::make_intrusive<c10d::PrefixStore>(name, s->store);
    if (strcmp(kind, "gloo") == 0) {
      // Listens on the interface of GLOO_SOCKET_IFNAME, else on the address of the host's name, else on loopback.
      auto options = c10d::ProcessGroupGloo::Options::create_default(ms(timeout));
      *out = new reft_backend{c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, world, options)};
    } else {
      TORCH_CHECK(strcmp(kind, "nccl") == 0, "unknown backend ", kind);
      *out = new reft_backend{reft_make_nccl(store, rank, world, device, ms(timeout))};
    }
  });
}
// Whether NCCL's group is there and laid out as nccl.cpp assumes.
int reft_nccl_check(char** error) {
  return guarded(error, [&] { reft_check_nccl(); });
}
int reft_all_reduce(reft_backend* b, at::Tensor* x, int op, int64_t timeout, char** error) {
  return guarded(error, [&] {
    c10d::AllreduceOptions o;
    o.reduceOp = static_cast<c10d::ReduceOp::RedOpType>(op);
    o.timeout = ms(timeout);
    std::vector<at::Tensor> xs{*x};
    finish([&] { return b->backend->allreduce(xs, o); });
  });
}
int reft_broadcast(reft_backend* b, at::Tensor* x, int root, int64_t timeout, char** error) {
  return guarded(error, [&] {
    c10d::BroadcastOptions o;
    o.rootRank = root;
    o.timeout = ms(timeout);
    std::vector<at::Tensor> xs{*x};
    finish([&] { return b->backend->broadcast(xs, o); });
  });
}
int reft_all_gather(reft_backend* b, at::Tensor* all, at::Tensor* own, int64_t timeout, char** error) {
  return guarded(error, [&] {
    c10d::AllgatherOptions o;
    o.timeout = ms(timeout);
    finish([&] { return b->backend->_allgather_base(*all, *own, o); });
  });
}
int reft_reduce_scatter(reft_backend* b, at::Tensor* own, at::Tensor* all, int64_t timeout, char** error) {
  return guarded(error, [&] {
    c10d::ReduceScatterOptions o;
    o.reduceOp = c10d::ReduceOp::SUM;
    o.timeout = ms(timeout);
    finish([&] { return b->backend->_reduce_scatter_base(*own, *all, o); });
  });
}
int reft_barrier(reft_backend* b, int64_t timeout, char** error) {
  return guarded(error, [&] {
    c10d::BarrierOptions o;
    o.timeout = ms(timeout);
    finish([&] { return b->backend->barrier(o); });
  });
}
void reft_backend_free(reft_backend* b) {
  // NCCL's threads must have ended before the process does.
  char* error = nullptr;
  if (guarded(&error, [&] { b->backend->shutdown(); }) != 0) free(error);
  delete b;
}

}  // extern "C"
