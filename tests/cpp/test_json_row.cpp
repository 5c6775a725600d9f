// Lines of JSON with known keys.
#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json_row.h"

using ringmeter::JsonRowParser;
using ringmeter::JsonSchema;
using ringmeter::parse_json_row;

namespace {

const JsonSchema kKeys = {{"\"a\"", true}, {"\"b/c\"", true}};
const JsonSchema kOneKey = {{"\"a\"", true}};

bool parses(std::string_view line) {
  double values[2];
  return parse_json_row(line, kKeys, values);
}

}  // namespace

TEST_CASE("a row gives its numbers") {
  double values[2];
  REQUIRE(parse_json_row("{\"a\": -1.5e-3, \"b/c\": 12}\n", kKeys, values));
  CHECK(values[0] == -1.5e-3);
  CHECK(values[1] == 12.0);
}

TEST_CASE("what is not finite is a number, as Python's json spells it") {
  double values[2];
  REQUIRE(parse_json_row("{\"a\": NaN, \"b/c\": -Infinity}\r\n", kKeys, values));
  CHECK(std::isnan(values[0]));
  CHECK(values[1] == -std::numeric_limits<double>::infinity());
  REQUIRE(parse_json_row("{\"a\": Infinity, \"b/c\": 0}", kKeys, values));
  CHECK(values[0] == std::numeric_limits<double>::infinity());
}

TEST_CASE("a row may be spaced as JSON may be") {
  double values[2];
  for (const std::string_view line : {
           "{\"a\":1.5,\"b/c\":-2}",
           "{\"a\":1.5,\"b/c\":-2}\n",
           " {\t\"a\" : 1.5 ,\r\n \"b/c\"\t:  -2\t} \r\n",
       }) {
    CAPTURE(line);
    REQUIRE(parse_json_row(line, kKeys, values));
    CHECK(values[0] == 1.5);
    CHECK(values[1] == -2.0);
  }
}

TEST_CASE("numbers are those of JSON") {
  double value;
  for (const auto& [text, expected] : std::vector<std::pair<std::string, double>>{
           {"0", 0.0}, {"-0.5", -0.5}, {"10", 10.0}, {"1E+5", 1e5}, {"1e05", 1e5}, {"0e1", 0.0}}) {
    CAPTURE(text);
    REQUIRE(parse_json_row("{\"a\":" + text + "}", kOneKey, &value));
    CHECK(value == expected);
  }
  for (const std::string text :
       {"01",  "-01",  "00",  "1.",  "1.e5", ".5",      "-.5",  "+1",    "1e",   "1.5e-", "-",
        "--1", "0x10", "1_0", "1 0", "inf",  "Infinit", "-NaN", "1e999", "NaN1", "- 1",   "1\v"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_json_row("{\"a\":" + text + "}", kOneKey, &value));
    CHECK_FALSE(parse_json_row("{\"a\":" + text, kOneKey, &value));
  }
}

TEST_CASE("a row that ends anywhere is refused, and nothing behind it is read") {
  const std::string line = "{ \"a\": -1.5e-3, \"b/c\": Infinity }";
  for (std::size_t size = 0; size < line.size(); ++size) {
    const std::vector<char> part(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(size));
    CAPTURE(size);
    CHECK_FALSE(parses({part.data(), part.size()}));
  }
}

TEST_CASE("anything else is refused") {
  for (const std::string_view line : {
           "",
           "{",
           "{}",
           "\n",
           "{\"a\": 1}",
           "{\"a\": 1, \"b/c\": }",
           "{\"a\": 1, \"b/c\": 2",
           "{\"b/c\": 1, \"a\": 2}",
           "{\"a\": 1, \"b/c\": 2, \"d\": 3}",
           "{\"a\" 1, \"b/c\": 2}",
           "{\"a\": 1,, \"b/c\": 2}",
           "{\"a\": 1, \"b/c\": 2,}",
           "{\"a\": 1 \"b/c\": 2}",
           "{\"a \": 1, \"b/c\": 2}",
           "{\"a\": 1, \"b/c\": 2}}",
           "{\"a\": 1,\f\"b/c\": 2}",
           "\xef\xbb\xbf{\"a\": 1, \"b/c\": 2}",
           "{\"a\": 1, \"b/c\": null}",
           "{\"a\": 1, \"b/c\": \"2\"}",
           "{\"a\": 1, \"b/c\": [2]}",
           "{\"a\": 1, \"b/c\": nan}",
           "{\"a\": 1, \"b/c\": -NaN}",
           "{\"a\": 1, \"b/c\": 2} x",
           "{\"a\": 1, \"b/c\": 1e999}",
           "{\"a\": +1, \"b/c\": 2}",
           "{\"a\": 1, \"b/c\": 2}{\"a\"",
       }) {
    CAPTURE(line);
    CHECK_FALSE(parses(line));
  }
}

TEST_CASE("what is no number is passed over, if it is JSON") {
  const JsonSchema schema = {{"\"a\"", true}, {"\"b\"", false}, {"\"c\"", true}};
  double numbers[2];
  for (const std::string text : {"null", "true", "false", R"("")", R"("warm up, {\"x\": [1]}")", R"("\\")",
                                 R"("\/\b\f\n\r\t\u00e9\uD83d")"}) {
    CAPTURE(text);
    REQUIRE(parse_json_row(R"({"a": 1, "b": )" + text + R"( , "c": 3})", schema, numbers));
    CHECK(numbers[0] == 1.0);
    CHECK(numbers[1] == 3.0);
  }
  for (const std::string text :
       {"", "1", "nul", "True", "[1]", "{}", R"("a)", R"("\")", R"("\x")", R"("\u12g4")", R"("\u12")",
        "\"\t\"", "\"\xc3\xa9\"", "\"\x7f\"", R"('a')", R"("a"")"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_json_row(R"({"a": 1, "b": )" + text + R"(, "c": 3})", schema, numbers));
  }
  const std::string line = R"({"a": 1, "b": "x\u00e9\\", "c": 3})";
  for (std::size_t size = 0; size < line.size(); ++size) {
    const std::vector<char> part(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(size));
    CAPTURE(size);
    CHECK_FALSE(parse_json_row({part.data(), part.size()}, schema, numbers));
  }
}

TEST_CASE("a line has the first schema that fits, and its numbers go there") {
  JsonRowParser parser({kOneKey, {{"\"a\"", false}, {"\"b\"", true}}, {{"\"b\"", true}}, {}});
  const std::pair<std::string, std::size_t> lines[] = {
      {R"({"b": 1})", 2},           {R"({"a": 2})", 0},
      {R"({"b": 3})", 2},           {R"({"a": 4})", 0},
      {R"({"a": 5})", 0},           {R"({"a": "x", "b": 6})", 1},
      {"{}", JsonRowParser::kNone}, {R"({"c": 1})", JsonRowParser::kNone},
      {"}", JsonRowParser::kNone},  {R"({"a": 7})", 0},
  };
  for (const auto& [line, schema] : lines) {
    CAPTURE(line);
    CHECK(parser.parse(line) == schema);
  }
  CHECK(parser.numbers(0) == std::vector<double>{2, 4, 5, 7});
  CHECK(parser.numbers(1) == std::vector<double>{6});
  CHECK(parser.numbers(2) == std::vector<double>{1, 3});
  CHECK(JsonRowParser({}).parse("{}") == JsonRowParser::kNone);
}
