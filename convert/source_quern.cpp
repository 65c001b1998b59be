// A `.quern` file as a source, to be encoded anew or exported.
#include <utility>

#include "convert/config_section.h"
#include "convert/source_model.h"
#include "formats/byte_reader.h"
#include "formats/mapped_file.h"
#include "formats/quern_file.h"
#include "text/tokenizer/image_spec.h"

namespace quern::convert {
namespace {

using formats::QuernFile;

class QuernSource final : public SourceModel {
 public:
  explicit QuernSource(QuernFile file) : file_(std::move(file)) {}

  std::string_view kind() const noexcept override { return "quern"; }
  Naming naming() const noexcept override { return Naming::kCanonical; }
  void release(const SourceTensor& tensor) const noexcept override {
    if (const auto* found = file_.find(tensor.name)) file_.release(*found);
  }
  bool has_tokenizer() const noexcept override { return !file_.tokenizer().empty(); }
  Result<std::vector<std::byte>> tokenizer_image() const override {
    return std::vector<std::byte>(file_.tokenizer().begin(), file_.tokenizer().end());
  }
  Result<formats::TokenizerSpec> tokenizer_spec() const override {
    return text::spec_of_image(file_.tokenizer());
  }

  Status read() {
    path_ = file_.path();
    files_ = {path_};
    QUERN_TRY(section, read_config_section(file_.config_json(), path_));
    config_ = std::move(section.config);
    metadata_ = metadata_of(section.provenance);
    chat_template_ = file_.chat_template();
    quality_report_ = file_.report_json();
    if (!file_.generation_json().empty()) {
      QUERN_TRY(generation, formats::parse_json(file_.generation_json(), path_, {}, true));
      generation_ = std::move(generation);
    }
    if (file_.tensors().empty()) return {};
    QUERN_TRY(name, config_.string("architecture"));
    architecture_ = models::find_architecture(name);
    if (architecture_ == nullptr) return unknown_architecture(path_, name);
    list_tensors();
    return {};
  }

 private:
  /// What the first source said about itself stays at hand, through any number of conversions.
  static formats::Json metadata_of(const formats::Json& provenance) {
    const formats::Json* at = provenance.find("metadata");
    return at != nullptr && at->is_object() ? *at : formats::Json::object();
  }

  void list_tensors() {
    std::vector<SourceTensor> tensors;
    for (const formats::TensorEntry& tensor : file_.tensors()) {
      SourceTensor out;
      out.name = tensor.name;
      out.shape.assign(tensor.dims.begin(), tensor.dims.begin() + tensor.n_dims);
      const EncodingInfo* info = find_encoding(tensor.encoding);
      out.type_name = info == nullptr ? "?" : std::string(info->name);
      out.encoding = tensor.encoding;
      out.layout = tensor.layout;
      out.data = tensor.data;
      tensors.push_back(std::move(out));
    }
    set_tensors(std::move(tensors));
  }

  QuernFile file_;
};

}  // namespace

Result<SourcePointer> open_quern_source(const std::string& path) {
  QUERN_TRY(file, QuernFile::open(path));
  auto source = std::make_unique<QuernSource>(std::move(file));
  QUERN_CHECK(source->read());
  return SourcePointer(std::move(source));
}

}  // namespace quern::convert
