#include <memory>
#include <string>
#include <vector>

#include "quern/adapter.h"
#include "runtime/c_api.h"

struct quern_adapter {
  quern::Adapter adapter;
};

using quern::Status;
using quern::runtime::c_call;
using quern::runtime::null_argument;

quern_code quern_adapter_open(const char* path, size_t path_length, quern_adapter** adapter) {
  return c_call([&]() -> Status {
    if (adapter == nullptr) return null_argument("adapter");
    *adapter = nullptr;
    QUERN_TRY(name, quern::runtime::view_argument(path, path_length, "path"));
    QUERN_TRY(opened, quern::Adapter::open(std::string(name)));
    *adapter = new quern_adapter{std::move(opened)};
    return {};
  });
}

void quern_adapter_free(quern_adapter* adapter) { delete adapter; }

quern_code quern_adapter_get_info(const quern_adapter* adapter, quern_adapter_info* info) {
  return c_call([&]() -> Status {
    if (adapter == nullptr) return null_argument("adapter");
    quern_adapter_info values{};
    values.pairs = adapter->adapter.pairs();
    values.vectors = adapter->adapter.vectors();
    values.scales = adapter->adapter.scales();
    values.path = quern::runtime::view_of(adapter->adapter.path());
    return quern::runtime::write_struct(values, "info", info);
  });
}

quern_code quern_model_with_adapters(const quern_model* model, const quern_adapter* const* adapters,
                                     const float* weights, size_t count, quern_model** adapted) {
  return c_call([&]() -> Status {
    if (adapted == nullptr) return null_argument("adapted");
    *adapted = nullptr;
    if (model == nullptr) return null_argument("model");
    if (adapters == nullptr && count != 0) return null_argument("adapters");
    std::vector<quern::AdapterUse> uses;
    for (size_t i = 0; i < count; ++i) {
      if (adapters[i] == nullptr) return null_argument("adapters");
      uses.push_back({adapters[i]->adapter, weights == nullptr ? 1.0F : weights[i]});
    }
    QUERN_TRY(made, quern::with_adapters(model->model, uses));
    *adapted = quern::runtime::new_model(std::move(made));
    return {};
  });
}
