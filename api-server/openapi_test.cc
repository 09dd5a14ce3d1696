// docs/openapi.yaml and the code say the same: paths, verbs, the fields of every body, and what the
// file says of each field is tried on the decoder.

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <map>
#include <set>
#include <string>

#include "api-server/routes.h"

namespace mote::api_server {
namespace {

/// An object's fields as JSON text.
using Fields = std::map<std::string, std::string>;

std::string lower(std::string_view text) {
  std::string result;
  for (const char c : text)
    result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

std::string quoted(const std::string& text) {
  return "\"" + text + "\"";
}

std::string join(const Fields& fields) {
  std::string text;
  for (const auto& [name, value] : fields) {
    text += (text.empty() ? "" : ",") + quoted(name) + ":" + value;
  }
  return "{" + text + "}";
}

class OpenApi : public testing::Test {
 protected:
  YAML::Node resolve(const YAML::Node& schema) const {
    if (!schema["$ref"]) return schema;
    const auto reference = schema["$ref"].as<std::string>();
    const std::string name = reference.substr(reference.rfind('/') + 1);
    const YAML::Node target = document_["components"]["schemas"][name];
    EXPECT_TRUE(target) << name;
    return target;
  }
  YAML::Node body_schema(const RouteInfo& route) const {
    const YAML::Node operation = document_["paths"][std::string(route.path)][lower(route.method)];
    if (!operation["requestBody"]) return YAML::Node(YAML::NodeType::Map);
    return resolve(operation["requestBody"]["content"]["application/json"]["schema"]);
  }
  /// A value the schema allows.
  std::string sample(const YAML::Node& given) const {
    const YAML::Node schema = resolve(given);
    if (schema["example"]) return quoted(schema["example"].as<std::string>());
    if (schema["enum"]) {
      return schema["enum"][0].IsNull() ? "null" : quoted(schema["enum"][0].as<std::string>());
    }
    const auto type = schema["type"].as<std::string>();
    if (type == "object") return join(all_fields(schema));
    if (type == "array") return "[" + sample(schema["items"]) + "]";
    if (type == "boolean") return "true";
    if (type == "integer") return schema["minimum"].as<std::string>();
    return quoted("a");  // Also the id in each path below.
  }
  Fields all_fields(const YAML::Node& schema) const {
    Fields fields;
    for (const auto& property : schema["properties"]) {
      fields[property.first.as<std::string>()] = sample(property.second);
    }
    return fields;
  }
  Fields required_fields(const YAML::Node& schema) const {
    Fields fields;
    for (const auto& name : schema["required"]) {
      fields[name.as<std::string>()] = sample(schema["properties"][name.as<std::string>()]);
    }
    return fields;
  }
  /// Empty when the request becomes an Action.
  static std::string refusal(const RouteInfo& route, const Fields& fields) {
    std::string path(route.path);
    if (const size_t id = path.find("{id}"); id != std::string::npos) path.replace(id, 4, "a");
    const auto routed = route_request(route.method, path, join(fields));
    const auto* const refused = std::get_if<RequestRefusal>(&routed);
    return refused == nullptr ? "" : refused->message;
  }
  void expect_refused(const RouteInfo& route, const Fields& fields, const std::string& name) {
    const std::string message = refusal(route, fields);
    EXPECT_TRUE(message.starts_with(name + ": "))
        << route.path << " " << join(fields) << ": \"" << message << "\"";
  }
  void try_limits(const RouteInfo& route, const YAML::Node& property, const std::string& name) {
    Fields fields = all_fields(body_schema(route));
    if (property["minimum"]) {
      fields[name] = std::to_string(property["minimum"].as<int64_t>() - 1);
      expect_refused(route, fields, name);
    }
    if (property["maximum"]) {
      fields[name] = std::to_string(property["maximum"].as<int64_t>());
      EXPECT_EQ(refusal(route, fields), "") << name;
      fields[name] = std::to_string(property["maximum"].as<int64_t>() + 1);
      expect_refused(route, fields, name);
    }
    for (const auto& word : property["enum"]) {
      if (word.IsNull()) continue;
      fields[name] = quoted(word.as<std::string>());
      EXPECT_EQ(refusal(route, fields), "") << name;
      fields[name] = quoted(word.as<std::string>() + "?");
      expect_refused(route, fields, name);
    }
  }

  YAML::Node document_ = YAML::LoadFile(MOTE_OPENAPI_FILE);
};

TEST_F(OpenApi, ListsEveryRouteWithItsFields) {
  for (const RouteInfo& route : route_table()) {
    const YAML::Node operation = document_["paths"][std::string(route.path)][lower(route.method)];
    ASSERT_TRUE(operation) << route.method << " " << route.path << " is missing";
    EXPECT_TRUE(operation["summary"]) << route.path;
    EXPECT_TRUE(operation["responses"][route.takes_body() ? "204" : "200"]) << route.path;
    std::set<std::string> listed;
    for (const auto& property : body_schema(route)["properties"]) {
      listed.insert(property.first.as<std::string>());
    }
    const std::set<std::string> expected(route.body_fields.begin(), route.body_fields.end());
    EXPECT_EQ(listed, expected) << route.method << " " << route.path;
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

TEST_F(OpenApi, AllFieldsAndTheRequiredOnesAloneAreAccepted) {
  for (const RouteInfo& route : route_table()) {
    if (route.body_fields.empty()) continue;
    const YAML::Node schema = body_schema(route);
    EXPECT_EQ(refusal(route, all_fields(schema)), "") << route.path;
    const Fields required = required_fields(schema);
    const bool patch_of_nothing = route.path == "/machine-config" && route.method == "PATCH";
    EXPECT_EQ(refusal(route, required).empty(), !patch_of_nothing) << route.path;
    for (const auto& [name, value] : required) {
      Fields fields = all_fields(schema);
      fields.erase(name);
      // An older field that may stand in its place.
      const YAML::Node stand_in = schema["properties"][name]["x-stand-in"];
      if (stand_in) fields.erase(stand_in.as<std::string>());
      expect_refused(route, fields, name);
      fields[name] = "null";
      expect_refused(route, fields, name);
    }
  }
}

TEST_F(OpenApi, EveryFieldRefusesOtherTypesAndWhatLiesOutsideItsLimits) {
  for (const RouteInfo& route : route_table()) {
    if (route.body_fields.empty()) continue;
    const YAML::Node schema = body_schema(route);
    for (const auto& property : schema["properties"]) {
      const auto name = property.first.as<std::string>();
      const YAML::Node field = resolve(property.second);
      const std::string type = field["type"] ? field["type"].as<std::string>() : "";
      for (const std::string_view other : {"true", "1.5", "\"\"", "[]", "{}"}) {
        if ((type == "boolean" && other == "true") || (type == "string" && other == "\"\"") ||
            (type == "array" && other == "[]") || (type == "object" && other == "{}")) {
          continue;
        }
        Fields fields = all_fields(schema);
        fields[name] = other;
        expect_refused(route, fields, name);
      }
      try_limits(route, field, name);
    }
    Fields fields = all_fields(schema);
    fields["surprise"] = "1";
    expect_refused(route, fields, "surprise");
  }
}

}  // namespace
}  // namespace mote::api_server
