#pragma once
// Which request means which Action: one table, read by the router, by the test that holds
// docs/openapi.yaml against it, and by nobody else. Pure.

#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "monitor/action.h"

namespace mote::api_server {

/// A row of the table.
struct RouteInfo {
  std::string_view method;
  std::string_view path;                          ///< "{id}" stands for one segment.
  std::span<const std::string_view> body_fields;  ///< Empty: no body, but for...
  bool any_object = false;                        ///< ...one whose fields are the client's own.
  [[nodiscard]] bool takes_body() const { return any_object || !body_fields.empty(); }
};
[[nodiscard]] std::span<const RouteInfo> route_table();

/// The request cannot become an Action.
struct RequestRefusal {
  unsigned status;  ///< 400 or 404.
  std::string message;
};

[[nodiscard]] std::variant<monitor::Action, RequestRefusal> route_request(std::string_view method,
                                                                          std::string_view target,
                                                                          std::string_view body);

/// Names a device or feature of the reference that Mote leaves out, and says so; nothing for other
/// names. Shared with the configuration file's sections.
[[nodiscard]] std::string_view absent_by_design(std::string_view first_segment);

}  // namespace mote::api_server
