#pragma once
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
// NCCL's group of this process's device; nccl.cpp says where it is found.
c10::intrusive_ptr<c10d::Backend> reft_make_nccl(const c10::intrusive_ptr<c10d::Store>&, int rank, int world, int device,
                                                 std::chrono::milliseconds timeout);
// An error where the NCCL of this process cannot be used; needs no GPU.
void reft_check_nccl();
