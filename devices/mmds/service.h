#pragma once
// The metadata service as HTTP: what a guest asks, and our answer (MMDS V1 and V2). One for all
// interfaces of a VM. Event-loop thread.

#include <cstdint>
#include <string>

#include "devices/mmds/config.h"
#include "devices/mmds/metrics.h"
#include "devices/mmds/store.h"
#include "devices/mmds/tokens.h"
#include "http/parser.h"
#include "http/response.h"

namespace mote::mmds {

class Service final {
 public:
  /// `limit_bytes`: the longest JSON text of the metadata.
  explicit Service(size_t limit_bytes) : store_(limit_bytes) {}

  [[nodiscard]] Store& store() { return store_; }
  [[nodiscard]] const Store& store() const { return store_; }
  [[nodiscard]] const Config& config() const { return config_; }
  void configure(Config config) { config_ = std::move(config); }
  [[nodiscard]] Metrics& metrics() { return metrics_; }
  [[nodiscard]] const Metrics& metrics() const { return metrics_; }

  struct Answer {
    std::string bytes;  ///< Head and body.
    http::ConnectionUse use;
  };
  /// Answers the request that `parser` has complete, and takes it.
  [[nodiscard]] Answer answer(http::Parser& parser, uint64_t now_ns);

 private:
  struct Content {
    unsigned status;
    std::string body;
    Format format = Format::kImds;
    std::string more_fields{};
  };
  struct Headers;
  [[nodiscard]] Content respond(const http::Request& request, const Headers& headers,
                                uint64_t now_ns);
  [[nodiscard]] Content get(const std::string& path, Format format) const;
  [[nodiscard]] Content put_token(const std::string& path, const Headers& headers, uint64_t now_ns);

  Store store_;
  Tokens tokens_;
  Config config_;
  Metrics metrics_;
};

}  // namespace mote::mmds
