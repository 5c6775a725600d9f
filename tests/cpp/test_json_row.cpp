// Lines of JSON with known keys.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string_view>
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
           "{\"a\":1, \"b/c\": 2}",
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
