// A node of libtorch's graph whose backward pass is a function of the caller's. See `node.rs`.

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

using torch::autograd::variable_list;

extern "C" {
// Takes ownership of the gradients of the outputs (null where there is none); leaves those of the inputs in `results`
// (null for none), which the node takes ownership of.
typedef void (*reft_backward)(void* state, at::Tensor** grads, size_t n_grads, at::Tensor** results, size_t n_results);
typedef void (*reft_drop)(void* state);
}

namespace {

struct Custom final : public torch::autograd::Node {
  Custom(void* state, reft_backward backward, reft_drop drop, size_t n_inputs)
      : state_(state), backward_(backward), drop_(drop), n_inputs_(n_inputs) {}
  ~Custom() override { release(); }

  variable_list apply(variable_list&& outputs) override {
    TORCH_CHECK(state_ != nullptr, "a second backward pass through a node that has been released");
    std::vector<at::Tensor*> grads, results(n_inputs_, nullptr);
    for (auto& grad : outputs) grads.push_back(grad.defined() ? new at::Tensor(std::move(grad)) : nullptr);
    backward_(state_, grads.data(), grads.size(), results.data(), results.size());
    variable_list inputs(n_inputs_);
    for (size_t i = 0; i < n_inputs_; ++i) {
      if (results[i] == nullptr) continue;
      inputs[i] = std::move(*results[i]);
      delete results[i];
    }
    return inputs;
  }

  void release_variables() override { release(); }
  std::string name() const override { return "ReftCustom"; }

 private:
  void release() {
    if (state_ != nullptr) drop_(state_);
    state_ = nullptr;
  }

  void* state_;
  reft_backward backward_;
  reft_drop drop_;
  size_t n_inputs_;
};

}  // namespace

// Whether a gradient will be asked for.
extern "C" bool reft_wants_gradient(at::Tensor* const* inputs, size_t n_inputs) {
  if (!at::GradMode::is_enabled()) return false;
  for (size_t i = 0; i < n_inputs; ++i)
    if (inputs[i]->requires_grad()) return true;
  return false;
}

// Makes the outputs results of a node over the inputs. Takes ownership of `state`.
extern "C" void reft_attach(at::Tensor* const* inputs, size_t n_inputs, at::Tensor* const* outputs, size_t n_outputs,
                            void* state, reft_backward backward, reft_drop drop) {
  variable_list list;
  for (size_t i = 0; i < n_inputs; ++i) list.push_back(*inputs[i]);
  auto node = std::shared_ptr<Custom>(new Custom(state, backward, drop, n_inputs), torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(list));
  for (size_t i = 0; i < n_outputs; ++i) torch::autograd::set_history(*outputs[i], node);
}

// See `leaf.rs`. `grad` is null to forget.
extern "C" void reft_set_grad(const at::Tensor* leaf, const at::Tensor* grad) {
  at::Tensor handle = *leaf;
  handle.mutable_grad() = grad == nullptr ? at::Tensor() : *grad;
}

// `x w^T + bias` by oneDNN, without a graph; null where this libtorch has no oneDNN. See `linear.rs`.
extern "C" at::Tensor* reft_linear(const at::Tensor* x, const at::Tensor* w, const at::Tensor* bias) {
  using Scalars = c10::List<std::optional<at::Scalar>>;
  using Signature = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, c10::string_view,
                               Scalars, std::optional<c10::string_view>);
  static const auto op = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
  if (!op) return nullptr;
  at::NoGradGuard no_grad;
  try {
    std::optional<at::Tensor> b;
    if (bias != nullptr) b = *bias;
    return new at::Tensor(op->typed<Signature>().call(*x, *w, b, "none", Scalars(), ""));
  } catch (const std::exception&) {
    return nullptr;
  }
}
