// A guest's metadata path, any bytes: it finds a value or none, and slashes at the ends change
// nothing.

#include <boost/json/parse.hpp>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "devices/mmds/store.h"

namespace {

using mote::mmds::Format;
using mote::mmds::Store;

Store make_store() {
  Store store(1024);
  const char* const text = R"({"a":{"b":"c","":"empty","l":[1,[2,{"d":null}]]},"latest":true})";
  if (!store.replace(boost::json::parse(text).as_object())) std::abort();
  return store;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Store store = make_store();
  const std::string path(data, data + size);
  for (const Format format : {Format::kJson, Format::kImds}) {
    const auto plain = store.read(path, format);
    const auto slashed = store.read("//" + path + "/", format);
    if (plain.has_value() != slashed.has_value()) std::abort();
    if (plain && *plain != *slashed) std::abort();
    if (plain && plain->size() > 1024) std::abort();
  }
  return 0;
}
