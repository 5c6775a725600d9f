// What all ranks sent for one log line, and the one number that becomes of those of an item.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

namespace ringmeter {

// How the numbers of the ranks become one.
enum class How : std::uint8_t { kMean, kSum, kMin, kMax, kFirst };
constexpr std::size_t kHows = 5;

// What a rank sends: this, the items, and their names while others may not know them.
struct RankHeader {
  static constexpr std::int64_t kNothing = -1;  // for `items`: a rank whose values could not be had

  std::int64_t schema;  // a hash of the names
  std::int64_t items;   // how many
  std::int64_t names;   // bytes
  std::int64_t size;    // bytes of all of it
  std::int64_t mode;    // with the iteration, which line it is
  std::int64_t iteration;
};

struct RankItem {
  double value;
  double weight;   // in a mean
  double nans;     // among the entries of its window
  double entries;  // of its window
};

// An item of all ranks that have it.
struct ReducedItem {
  double value = 0.0;
  double nans = 0.0;
  double entries = 0.0;
  double most = 0.0;        // of any rank: NaN where all are
  std::size_t slowest = 0;  // the first row that has it
};

// For each schema, which field its items are of.
using Columns = std::map<std::int64_t, std::vector<std::size_t>>;

// A table of bytes, a row for each rank, which it does not own.
//
// Invariant: rows are read only within their size, whatever their headers say.
class RankTable {
 public:
  // Throws std::invalid_argument when a row has no room for a header.
  RankTable(const char* bytes, std::size_t ranks, std::size_t row_size);

  std::size_t ranks() const { return ranks_; }

  RankHeader header(std::size_t rank) const {
    RankHeader header;
    std::memcpy(&header, bytes_ + rank * row_size_, sizeof header);
    return header;
  }

  // Bytes of the largest payload. Where that is more than a row, rows are cut off.
  std::int64_t largest_size() const;

  // Items of the rank that has most.
  std::int64_t most_items() const;

  // The first rank that is at another line than this; ranks() if all are at it.
  std::size_t find_other(std::int64_t mode, std::int64_t iteration) const;

  // Every schema with its names, which are empty where they were not sent, in the order of the ranks. A rank
  // that has nothing has none. Throws std::runtime_error when names are not within their row.
  std::vector<std::pair<std::int64_t, std::string_view>> schemas() const;

  // The items that ranks have in common, one for each of `hows`. O(ranks * items), and each row is read once.
  // Throws std::runtime_error when the items of a row are not within it, or not those of its schema.
  std::vector<ReducedItem> reduce(const Columns& columns, const std::vector<How>& hows) const;

 private:
  const char* row(std::size_t rank) const { return bytes_ + rank * row_size_; }

  const char* bytes_;
  std::size_t ranks_;
  std::size_t row_size_;
};

}  // namespace ringmeter
