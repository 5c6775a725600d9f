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

using ringmeter::parse_json_row;

namespace {

const std::vector<std::string_view> kKeys = {"\"a\"", "\"b/c\""};

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
    REQUIRE(parse_json_row("{\"a\":" + text + "}", {"\"a\""}, &value));
    CHECK(value == expected);
  }
  for (const std::string text :
       {"01",  "-01",  "00",  "1.",  "1.e5", ".5",      "-.5",  "+1",    "1e",   "1.5e-", "-",
        "--1", "0x10", "1_0", "1 0", "inf",  "Infinit", "-NaN", "1e999", "NaN1", "- 1",   "1\v"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_json_row("{\"a\":" + text + "}", {"\"a\""}, &value));
    CHECK_FALSE(parse_json_row("{\"a\":" + text, {"\"a\""}, &value));
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
