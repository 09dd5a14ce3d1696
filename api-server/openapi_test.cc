// docs/openapi.yaml and the route table say the same: paths, verbs, and the fields of every body.

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <set>
#include <string>

#include "api-server/routes.h"

namespace mote::api_server {
namespace {

std::string lower(std::string_view text) {
  std::string result;
  for (const char c : text)
    result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

class OpenApi : public testing::Test {
 protected:
  std::set<std::string> body_fields(const YAML::Node& operation) {
    std::set<std::string> fields;
    if (!operation["requestBody"]) return fields;
    const YAML::Node schema = operation["requestBody"]["content"]["application/json"]["schema"];
    if (!schema) return fields;
    const auto reference = schema["$ref"].as<std::string>();
    const std::string name = reference.substr(reference.rfind('/') + 1);
    const YAML::Node properties = document_["components"]["schemas"][name]["properties"];
    EXPECT_TRUE(properties) << name;
    for (const auto& property : properties) fields.insert(property.first.as<std::string>());
    return fields;
  }
  YAML::Node document_ = YAML::LoadFile(MOTE_OPENAPI_FILE);
};

TEST_F(OpenApi, ListsEveryRouteWithItsFields) {
  for (const RouteInfo& route : route_table()) {
    const YAML::Node operation = document_["paths"][std::string(route.path)][lower(route.method)];
    ASSERT_TRUE(operation) << route.method << " " << route.path << " is missing";
    const std::set<std::string> expected(route.body_fields.begin(), route.body_fields.end());
    EXPECT_EQ(body_fields(operation), expected) << route.method << " " << route.path;
  }
}

TEST_F(OpenApi, ListsNothingElse) {
  std::set<std::string> known;
  for (const RouteInfo& route : route_table())
    known.insert(lower(route.method) + " " + std::string(route.path));
  size_t listed = 0;
  for (const auto& path : document_["paths"]) {
    for (const auto& operation : path.second) {
      const auto verb = operation.first.as<std::string>();
      if (verb == "parameters") continue;
      ++listed;
      EXPECT_TRUE(known.contains(verb + " " + path.first.as<std::string>()))
          << verb << " " << path.first;
    }
  }
  EXPECT_EQ(listed, known.size());
}

}  // namespace
}  // namespace mote::api_server
