#include "core/rank_table.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include "core/compensated_sum.h"

namespace ringmeter {

namespace {

// What is known of a field after some of the ranks.
class Field {
 public:
  explicit Field(How how) : how_(how) {}

  void add(const RankItem& item, std::size_t rank) {
    switch (how_) {
      case How::kMean: add_to_mean(item); break;
      case How::kSum: sum_.add(item.value); break;
      case How::kMin: keep(item.value, item.value < result_.value); break;
      case How::kMax: keep(item.value, item.value > result_.value); break;
      case How::kFirst: keep(item.value, false); break;
    }
    const bool is_first_number = std::isnan(result_.most) && !std::isnan(item.value);
    if (is_empty_ || is_first_number || item.value > result_.most) {
      result_.most = item.value;
      result_.slowest = rank;
    }
    result_.nans += item.nans;
    result_.entries += item.entries;
    is_empty_ = false;
  }

  ReducedItem result() const {
    ReducedItem result = result_;
    if (how_ == How::kSum) result.value = sum_.value();
    if (how_ == How::kMean) result.value = is_weighted_ ? sum_.value() / weights_ : plain_.value() / ranks_;
    return result;
  }

 private:
  // Weighted. A rank of weight 0 has nothing in its window, and counts only where that is so of all.
  void add_to_mean(const RankItem& item) {
    plain_.add(item.value);
    ranks_ += 1.0;
    if (item.weight == 0.0) return;
    sum_.add(item.value * item.weight);
    weights_ += item.weight;
    is_weighted_ = true;
  }

  void keep(double value, bool is_better) {
    if (is_empty_ || is_better || (std::isnan(value) && how_ != How::kFirst)) result_.value = value;
  }

  How how_;
  bool is_empty_ = true;
  bool is_weighted_ = false;
  CompensatedSum sum_;  // of a mean: of the weighted values
  double weights_ = 0.0;
  CompensatedSum plain_;
  double ranks_ = 0.0;
  ReducedItem result_;
};

}  // namespace

RankTable::RankTable(const char* bytes, std::size_t ranks, std::size_t row_size)
    : bytes_(bytes), ranks_(ranks), row_size_(row_size) {
  if (row_size < sizeof(RankHeader)) throw std::invalid_argument("rows are too short for a header");
}

std::int64_t RankTable::largest_size() const {
  std::int64_t largest = 0;
  for (std::size_t rank = 0; rank < ranks_; ++rank) largest = std::max(largest, header(rank).size);
  return largest;
}

std::int64_t RankTable::most_items() const {
  std::int64_t most = 0;
  for (std::size_t rank = 0; rank < ranks_; ++rank) most = std::max(most, header(rank).items);
  return most;
}

std::size_t RankTable::find_other(std::int64_t mode, std::int64_t iteration) const {
  for (std::size_t rank = 0; rank < ranks_; ++rank) {
    const RankHeader header = this->header(rank);
    if (header.mode != mode || header.iteration != iteration) return rank;
  }
  return ranks_;
}

std::vector<std::pair<std::int64_t, std::string_view>> RankTable::schemas() const {
  std::vector<std::pair<std::int64_t, std::string_view>> schemas;
  std::set<std::int64_t> seen;
  for (std::size_t rank = 0; rank < ranks_; ++rank) {
    const RankHeader header = this->header(rank);
    if (header.items == RankHeader::kNothing) continue;
    if (!schemas.empty() && schemas.back().first == header.schema) continue;
    if (!seen.insert(header.schema).second) continue;
    const auto items = static_cast<std::uint64_t>(header.items);
    const auto names = static_cast<std::uint64_t>(header.names);
    const std::size_t room = row_size_ - sizeof header;
    if (items > room / sizeof(RankItem) || names > room - items * sizeof(RankItem)) {
      throw std::runtime_error("what a rank sent is garbled");
    }
    schemas.emplace_back(header.schema,
                         std::string_view(row(rank) + sizeof header + items * sizeof(RankItem), names));
  }
  return schemas;
}

std::vector<ReducedItem> RankTable::reduce(const Columns& columns, const std::vector<How>& hows) const {
  std::vector<Field> fields(hows.begin(), hows.end());
  auto own = columns.end();
  for (std::size_t rank = 0; rank < ranks_; ++rank) {
    const RankHeader header = this->header(rank);
    if (header.items == RankHeader::kNothing) continue;
    if (own == columns.end() || own->first != header.schema) own = columns.find(header.schema);
    const auto items = static_cast<std::uint64_t>(header.items);
    if (own == columns.end() || own->second.size() != items ||
        items > (row_size_ - sizeof header) / sizeof(RankItem)) {
      throw std::runtime_error("what a rank sent is garbled");
    }
    const char* place = row(rank) + sizeof header;
    for (const std::size_t column : own->second) {
      RankItem item;
      std::memcpy(&item, place, sizeof item);
      fields.at(column).add(item, rank);
      place += sizeof item;
    }
  }
  std::vector<ReducedItem> reduced;
  reduced.reserve(fields.size());
  for (const Field& field : fields) reduced.push_back(field.result());
  return reduced;
}

}  // namespace ringmeter
