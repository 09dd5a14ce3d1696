#include "devices/mmds/store.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace mote::mmds {
namespace {

using base::ErrorCode;

constexpr size_t kLimitBytes = 256;

boost::json::object object(std::string_view text) {
  return boost::json::parse(text).as_object();
}

std::string text(const Store& store) {
  return boost::json::serialize(*store.content());
}

Store filled() {
  Store store(kLimitBytes);
  EXPECT_TRUE(store.replace(object(
      R"({"latest":{"meta-data":{"ami-id":"a1","n":7,"list":["x",{"y":"z"}]},"user":"u"}})")));
  return store;
}

TEST(MmdsStore, IsEmptyUntilItIsPut) {
  Store store(kLimitBytes);
  EXPECT_FALSE(store.content());
  EXPECT_EQ(store.read("/", Format::kJson).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store.merge(object(R"({"a":1})")).error().code, ErrorCode::kWrongState);
  EXPECT_FALSE(store.content());
}

TEST(MmdsStore, AnswersPathsAsJson) {
  const Store store = filled();
  EXPECT_EQ(*store.read("/latest/user", Format::kJson), R"("u")");
  EXPECT_EQ(*store.read("latest//meta-data/n/", Format::kJson), "7");
  EXPECT_EQ(*store.read("/latest/meta-data/list/1/y", Format::kJson), R"("z")");
  EXPECT_EQ(*store.read("", Format::kJson), text(store));
  EXPECT_EQ(*store.read("///", Format::kJson), text(store));
}

TEST(MmdsStore, AnswersPathsAsPlainText) {
  const Store store = filled();
  EXPECT_EQ(*store.read("/", Format::kImds), "latest/");
  EXPECT_EQ(*store.read("/latest", Format::kImds), "meta-data/\nuser");
  EXPECT_EQ(*store.read("/latest/meta-data/ami-id", Format::kImds), "a1");
  EXPECT_EQ(store.read("/latest/meta-data/n", Format::kImds).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(store.read("/latest/meta-data/list", Format::kImds).error().code,
            ErrorCode::kUnsupported);
}

TEST(MmdsStore, KnowsNoOtherPaths) {
  const Store store = filled();
  for (const char* path :
       {"/none", "/latest/user/more", "/Latest", "/latest/meta-data/list/2",
        "/latest/meta-data/list/-1", "/latest/meta-data/list/+1", "/latest/meta-data/list/1x",
        "/latest/meta-data/list/18446744073709551616", "/latest/meta-data/n/0", "/.."})
    EXPECT_EQ(store.read(path, Format::kJson).error().code, ErrorCode::kNotFound) << path;
}

TEST(MmdsStore, MergesAsTheRfcSays) {
  // Cases of RFC 7396, appendix A, whose target and patch are objects.
  struct Case {
    const char* target;
    const char* patch;
    const char* outcome;
  };
  for (const Case& c :
       {Case{R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
        Case{R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
        Case{R"({"a":"b"})", R"({"a":null})", R"({})"},
        Case{R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
        Case{R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
        Case{R"({"a":"c"})", R"({"a":["b"]})", R"({"a":["b"]})"},
        Case{R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
        Case{R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"},
        Case{R"({"e":null})", R"({"a":1})", R"({"e":null,"a":1})"},
        Case{R"({})", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"}}) {
    Store store(kLimitBytes);
    ASSERT_TRUE(store.replace(object(c.target)));
    ASSERT_TRUE(store.merge(object(c.patch)));
    EXPECT_EQ(text(store), c.outcome) << c.target << " with " << c.patch;
  }
}

TEST(MmdsStore, KeepsTheOrderOfWhatStaysWhenAMemberGoes) {
  Store store(kLimitBytes);
  ASSERT_TRUE(store.replace(object(R"({"a":1,"b":2,"c":3,"d":4})")));
  ASSERT_TRUE(store.merge(object(R"({"a":null})")));
  EXPECT_EQ(text(store), R"({"b":2,"c":3,"d":4})");
}

TEST(MmdsStore, HoldsExactlyItsLimitAndKeepsTheOldContentBeyond) {
  Store store(10);
  ASSERT_TRUE(store.replace(object(R"({"a":"12"})")));  // Ten bytes.
  const auto put = store.replace(object(R"({"a":"123"})"));
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(put.error().message().find("11 bytes of at most 10"), std::string::npos);
  EXPECT_EQ(store.merge(object(R"({"b":1})")).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(text(store), R"({"a":"12"})");
  EXPECT_TRUE(store.merge(object(R"({"a":null,"b":1})")));
  EXPECT_EQ(text(store), R"({"b":1})");
}

}  // namespace
}  // namespace mote::mmds
