// What ranks send for a line, and what becomes of it.
#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/rank_table.h"

using ringmeter::How;
using ringmeter::RankHeader;
using ringmeter::RankItem;
using ringmeter::RankTable;
using ringmeter::ReducedItem;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr std::size_t kRowSize = 256;

std::string row(std::int64_t schema, const std::vector<RankItem>& items, const std::string& names = "",
                std::int64_t iteration = 5) {
  const std::size_t size = sizeof(RankHeader) + items.size() * sizeof(RankItem) + names.size();
  const RankHeader header = {schema,
                             static_cast<std::int64_t>(items.size()),
                             static_cast<std::int64_t>(names.size()),
                             static_cast<std::int64_t>(size),
                             0,
                             iteration};
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  bytes.append(reinterpret_cast<const char*>(items.data()), items.size() * sizeof(RankItem));
  bytes += names;
  bytes.resize(kRowSize);
  return bytes;
}

std::string row_of_nothing() {
  const RankHeader header = {0, RankHeader::kNothing, 0, sizeof(RankHeader), 0, 5};
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  bytes.resize(kRowSize);
  return bytes;
}

RankTable table_of(const std::string& bytes) { return {bytes.data(), bytes.size() / kRowSize, kRowSize}; }

// One item on each rank, reduced.
ReducedItem reduced(How how, const std::vector<RankItem>& items) {
  std::string bytes;
  for (const RankItem& item : items) bytes += row(7, {item});
  return table_of(bytes).reduce({{7, {0}}}, {how}).at(0);
}

RankItem value(double value, double weight = 1.0) { return {value, weight, 0.0, 1.0}; }

}  // namespace

TEST_CASE("the numbers of the ranks become one") {
  const std::vector<RankItem> items = {value(3.0), value(-1.0, 2.0), value(7.0)};
  CHECK(reduced(How::kMean, items).value == 2.0);  // (3 - 2 + 7) / 4
  CHECK(reduced(How::kSum, items).value == 9.0);
  CHECK(reduced(How::kMin, items).value == -1.0);
  CHECK(reduced(How::kMax, items).value == 7.0);
  CHECK(reduced(How::kFirst, items).value == 3.0);
}

TEST_CASE("a rank of weight 0 counts only where all are") {
  CHECK(reduced(How::kMean, {value(kNan, 0.0), value(4.0, 2.0)}).value == 4.0);
  CHECK(reduced(How::kMean, {value(1.0, 0.0), value(4.0, 0.0)}).value == 2.5);
}

TEST_CASE("what is not finite on one rank is not finite") {
  for (const How how : {How::kMean, How::kSum, How::kMin, How::kMax}) {
    CAPTURE(static_cast<int>(how));
    CHECK(std::isnan(reduced(how, {value(1.0), value(kNan), value(2.0)}).value));
    CHECK(std::isnan(reduced(how, {value(kNan), value(2.0)}).value));
  }
  CHECK(reduced(How::kMean, {value(1.0), value(kInf)}).value == kInf);
  CHECK(reduced(How::kSum, {value(-kInf), value(1.0)}).value == -kInf);
  CHECK(std::isnan(reduced(How::kSum, {value(-kInf), value(kInf)}).value));
  CHECK(reduced(How::kFirst, {value(1.0), value(kNan)}).value == 1.0);
}

TEST_CASE("sums lose nothing to the order of the ranks") {
  CHECK(reduced(How::kSum, {value(1e16), value(1.0), value(1.0), value(-1e16)}).value == 2.0);
}

TEST_CASE("entries and their NaNs are added up") {
  const ReducedItem item = reduced(How::kMean, {{1.0, 1.0, 2.0, 10.0}, {1.0, 1.0, 3.0, 5.0}});
  CHECK(item.nans == 5.0);
  CHECK(item.entries == 15.0);
}

TEST_CASE("the slowest rank is the first that has the largest number") {
  ReducedItem item = reduced(How::kMean, {value(kNan), value(1.0), value(3.0), value(3.0), value(kNan)});
  CHECK(item.most == 3.0);
  CHECK(item.slowest == 2);
  item = reduced(How::kMin, {value(kNan), value(kNan)});
  CHECK(std::isnan(item.most));
  CHECK(item.slowest == 0);
}

TEST_CASE("ranks with other items are reduced over those that have them") {
  const std::string bytes = row(1, {value(1.0), value(10.0)}) + row_of_nothing() +
                            row(2, {value(20.0), value(5.0)}) + row(1, {value(3.0), value(30.0)}) +
                            row(3, {});
  const RankTable table = table_of(bytes);
  const auto items = table.reduce({{1, {0, 1}}, {2, {1, 2}}, {3, {}}}, {How::kMean, How::kMean, How::kMax});
  CHECK(items.at(0).value == 2.0);
  CHECK(items.at(1).value == 20.0);
  CHECK(items.at(1).slowest == 3);
  CHECK(items.at(2).value == 5.0);
  CHECK(items.at(2).slowest == 2);
  CHECK(table.most_items() == 2);
}

TEST_CASE("each schema comes once, with its names if they were sent") {
  const std::string bytes = row(4, {value(1.0)}, "four") + row(2, {}, "two") + row(4, {value(1.0)}, "four") +
                            row_of_nothing() + row(9, {});
  const auto schemas = table_of(bytes).schemas();
  REQUIRE(schemas.size() == 3);
  CHECK(schemas[0] == std::pair<std::int64_t, std::string_view>(4, "four"));
  CHECK(schemas[1] == std::pair<std::int64_t, std::string_view>(2, "two"));
  CHECK(schemas[2] == std::pair<std::int64_t, std::string_view>(9, ""));
}

TEST_CASE("a rank at another line is found") {
  const std::string bytes = row(1, {}) + row(1, {}, "", 6) + row(1, {}, "", 7);
  CHECK(table_of(bytes).find_other(0, 5) == 1);
  CHECK(table_of(bytes).find_other(1, 5) == 0);
  CHECK(table_of(bytes.substr(0, kRowSize)).find_other(0, 5) == 1);
}

TEST_CASE("what is cut off or garbled is told, and not read") {
  const std::string many(400, 'n');
  std::string cut = row(1, {value(1.0)}, many);  // longer than its row
  cut.resize(kRowSize);
  CHECK(table_of(cut).largest_size() ==
        static_cast<std::int64_t>(sizeof(RankHeader) + sizeof(RankItem) + 400));
  CHECK_THROWS_AS(table_of(cut).schemas(), std::runtime_error);
  CHECK_THROWS_AS(table_of(row(1, {value(1.0)})).reduce({{1, {}}}, {How::kSum}), std::runtime_error);
  CHECK_THROWS_AS(table_of(row(1, {value(1.0)})).reduce({{2, {0}}}, {How::kSum}), std::runtime_error);
  for (const std::int64_t items : {std::int64_t{7}, std::int64_t{-2}, INT64_MAX, INT64_MIN}) {
    std::string bytes = row(1, {});
    std::memcpy(bytes.data() + offsetof(RankHeader, items), &items, sizeof items);
    CAPTURE(items);
    CHECK_THROWS_AS(table_of(bytes).schemas(), std::runtime_error);
    CHECK_THROWS_AS(table_of(bytes).reduce({{1, std::vector<std::size_t>(7)}}, {How::kSum}),
                    std::runtime_error);
  }
  CHECK_THROWS_AS(RankTable(cut.data(), 1, sizeof(RankHeader) - 1), std::invalid_argument);
}
