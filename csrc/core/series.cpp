#include "core/series.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/compensated_sum.h"
#include "core/summary.h"

namespace ringmeter {

namespace {

constexpr std::size_t kFew = 32;

bool less(const Number& a, const Number& b) { return a.high < b.high || (a.high == b.high && a.low < b.low); }

}  // namespace

// Sum and range of all that was added.
struct Series::Total {
  CompensatedSum sum;
  double size = 0.0;
  double magnitude = 0.0;  // an upper bound for the sum of |value|
  double minimum = std::numeric_limits<double>::infinity();
  double maximum = -std::numeric_limits<double>::infinity();
  bool has_nan = false;
  bool is_wide = false;  // there are integers with low parts, which are not in `sum`

  void add(const Summary& part, double part_size) {
    sum.add(part.sum, part.sum_low);
    size += part_size;
    magnitude += part_size * std::max(std::fabs(part.minimum), std::fabs(part.maximum));
    has_nan = has_nan || std::isnan(part.minimum);
    minimum = std::min(minimum, part.minimum);
    maximum = std::max(maximum, part.maximum);
  }

  // Whether no value was a NaN or an infinity. The sum may have overflowed all the same.
  bool is_finite() const { return !has_nan && !std::isinf(minimum) && !std::isinf(maximum); }

  // How far `sum` is from the exact sum at most: n^2 * 2^-106 of the sum of magnitudes wherever n parts were
  // added (Ogita, Rump and Oishi). Those are at most 160, or as many as there are runs.
  double error() const {
    const double runs = size / static_cast<double>(kRunSize);
    return magnitude * std::max(0x1p-90, runs * runs * 0x1p-104);
  }

  // Whether the exact sum of finite values lies less than a quarter of an ulp from `sum`.
  bool is_certain() const {
    const double value = sum.value();
    return std::isfinite(value) && std::fabs(value) * 0x1p-55 >= error();
  }

  bool needs_exact_sum() const { return is_finite() && (is_wide || !is_certain()); }

  // sum / counts within 1 ulp of the correctly rounded sum / counts: the same, but where the exact sum is so
  // close to half way between two doubles that it is not known which is nearer. Their quotients are at most
  // 2 ulp apart, so what lies between serves for both.
  double mean(double counts) const {
    if (!std::isfinite(sum.value())) return sum.value() / counts;
    CompensatedSum rounded = sum;
    rounded.normalise();
    const double lower = rounded.high() + (rounded.low() - error());
    const double upper = rounded.high() + (rounded.low() + error());
    const double least = lower / counts;
    const double most = upper / counts;
    if (least == most || !std::isfinite(least) || !std::isfinite(most)) return rounded.high() / counts;
    return least + (most - least) / 2.0;
  }
};

Range Series::window(std::uint64_t size, Position at) const {
  const std::uint64_t n = std::min({size, max_length_, at});
  return {at - n, at};
}

Position Series::landed() const {
  const Position head = position();
  if (!has_pending_.load(std::memory_order_relaxed)) return head;
  const Position known = landed_to_.load(std::memory_order_relaxed);
  const Position begin = std::max(known, window(max_length_, head).begin);
  const Position end = ring_.landed_end({begin, head});
  if (end > known) landed_to_.store(end, std::memory_order_relaxed);
  return end;
}

std::uint64_t Series::unsummarised(Range range) const {
  const Position done = summarised_to_.load(std::memory_order_relaxed);
  return range.end - std::min(range.end, std::max(range.begin, done));
}

template <class Column>
Read Series::total(Range range, Total* out) const {
  Pieces pieces;
  const Read read = ring_.gather<Column>(range, false, &pieces);
  if (read != Read::kOk) return read;
  for (const Piece& piece : pieces) out->add(piece.summary, piece.size);
  const Position done = summarised_to_.load(std::memory_order_relaxed);
  // Up to `done`, or up to where the ring begins.
  const Position from = std::max(done, range.end - std::min(range.end, max_length_));
  if (range.begin <= from && range.end > done) {
    summarised_to_.store(range.end, std::memory_order_relaxed);
  }
  return read;
}

Read Series::total_of_values(Range range, Total* out) const {
  Read read = Read::kOk;
  if (range.size() > kFew) {
    read = total<Ring::Values>(range, out);
  } else {  // no use for summaries
    double values[kFew];
    read = ring_.copy(range, values, nullptr, nullptr);
    const auto n = static_cast<std::size_t>(range.size());
    if (read == Read::kOk) out->add(summarise_range(values, n), static_cast<double>(n));
  }
  // Of this range: an answer must not depend on what was recorded later.
  if (read == Read::kOk && may_have_lows()) read = ring_.has_lows(range, &out->is_wide);
  return read;
}

Read Series::at(Position position, Number* out) const {
  double value = 0.0;
  double low = 0.0;
  Read read = ring_.copy({position, position + 1}, &value, nullptr, nullptr);
  if (read == Read::kOk && may_have_lows()) {
    read = ring_.copy({position, position + 1}, &value, &low, nullptr);
  }
  *out = {value, low, kind()};
  return read;
}

Read Series::sum(Range range, Number* out) const {
  Total sums;
  const Read read = total_of_values(range, &sums);
  if (read != Read::kOk) return read;
  if (sums.needs_exact_sum()) return exact_sum(range, out);
  CompensatedSum sum = sums.sum;
  sum.normalise();
  // Integers below 2^53: every intermediate sum was exact, and so is the low part.
  const bool whole = kind() != NumberKind::kFloat;
  *out = {sums.sum.value(), whole ? sum.low() : 0.0, whole ? NumberKind::kInt : NumberKind::kFloat};
  return Read::kOk;
}

Read Series::exact_sum(Range range, Number* out) const {
  const bool with_lows = may_have_lows();
  std::vector<double> values(range.size());
  std::vector<double> lows(with_lows ? range.size() : 0);
  const Read read = ring_.copy(range, values.data(), with_lows ? lows.data() : nullptr, nullptr);
  if (read != Read::kOk) return read;
  double scale = 1.0;
  ExactSum sum;
  const auto add_all = [&] {
    for (const double value : values) sum.add(value * scale);
    for (const double low : lows) sum.add(low * scale);
  };
  add_all();
  if (!std::isfinite(sum.value())) {  // it overflowed on the way: again, far from the largest double
    scale = 0x1p-100;
    sum = ExactSum();
    add_all();
  }
  const bool whole = kind() != NumberKind::kFloat;
  *out = {sum.value() / scale, 0.0, whole ? NumberKind::kInt : NumberKind::kFloat};
  if (whole && std::isfinite(out->high)) {
    sum.add(-out->high * scale);
    out->low = sum.value() / scale;
  }
  return read;
}

Read Series::count(Range range, double* out) const {
  if (!has_counts_.load(std::memory_order_relaxed)) {
    *out = static_cast<double>(range.size());
    return Read::kOk;
  }
  Total counts;
  Read read = total<Ring::Counts>(range, &counts);
  *out = counts.sum.value();
  if (read != Read::kOk || !counts.needs_exact_sum()) return read;
  std::vector<double> values(range.size());
  std::vector<double> numbers(range.size());
  read = ring_.copy(range, values.data(), nullptr, numbers.data());
  ExactSum sum;
  for (const double number : numbers) sum.add(number);
  *out = sum.value();
  return read;
}

Read Series::mean(Range range, double* out) const {
  Total sums;
  double counts = 0.0;
  Read read = total_of_values(range, &sums);
  if (read == Read::kOk) read = count(range, &counts);
  if (read != Read::kOk) return read;
  if (!sums.needs_exact_sum()) {
    *out = sums.mean(counts);
    return read;
  }
  Number exact;
  read = exact_sum(range, &exact);
  *out = exact.high / counts;
  return read;
}

Read Series::minimum(Range range, Number* out) const { return extreme(range, false, out); }

Read Series::maximum(Range range, Number* out) const { return extreme(range, true, out); }

Read Series::extreme(Range range, bool greatest, Number* out) const {
  Total total;
  Read read = total_of_values(range, &total);
  if (read == Read::kOk && total.is_wide && is_whole()) {
    std::vector<Number> numbers;
    read = wide(range, &numbers);
    if (read != Read::kOk) return read;
    const auto [least, most] = std::minmax_element(numbers.begin(), numbers.end(), less);
    *out = greatest ? *most : *least;
    return read;
  }
  const double number = greatest ? total.maximum : total.minimum;
  *out = {total.has_nan ? decode(kNan) : number, 0.0, kind()};
  return read;
}

Read Series::wide(Range range, std::vector<Number>* out) const {
  std::vector<double> values(range.size());
  std::vector<double> lows(range.size());
  const Read read = ring_.copy(range, values.data(), lows.data(), nullptr);
  out->resize(range.size());
  for (std::size_t i = 0; i < out->size(); ++i) (*out)[i] = {values[i], lows[i], NumberKind::kInt};
  return read;
}

Read Series::std(Range range, double* out) const {
  Pieces pieces;
  const Read read = ring_.gather<Ring::Values>(range, true, &pieces);
  if (read != Read::kOk) return read;
  const Summary all = combine(pieces.begin(), pieces.count());
  *out = std::sqrt(all.squares / static_cast<double>(range.size()));
  return read;
}

// The order statistics `rank` and `rank + 1`; NaN when any value is NaN.
Read Series::select(Range range, std::uint64_t rank, Neighbours* out) const {
  *out = {decode(kNan), decode(kNan)};
  if (range.size() > 16 * Selection::kSample) {
    std::vector<double> sample(Selection::kSample);
    std::uint64_t state = 0x9E3779B97F4A7C15;  // fixed, so that the same data takes the same time
    for (double& each : sample) {
      state = state * 6364136223846793005U + 1442695040888963407U;  // Knuth's MMIX
      const Position at = range.begin + (state >> 33) % range.size();
      const Read read = ring_.copy({at, at + 1}, &each, nullptr, nullptr);
      if (read != Read::kOk) return read;
    }
    Selection selection(std::move(sample), range.size(), rank);
    const Read read =
        ring_.scan(range, [&](const double* values, std::size_t n) { selection.visit(values, n); });
    if (read != Read::kOk || selection.has_nan()) return read;
    if (selection.found()) {
      *out = selection.result();
      return read;
    }
  }
  std::vector<double> values(range.size());
  const Read read = ring_.copy(range, values.data(), nullptr, nullptr);
  if (read != Read::kOk) return read;
  const bool has_nan = std::any_of(values.begin(), values.end(), [](double v) { return v != v; });
  if (!has_nan) *out = nearest(values, static_cast<std::size_t>(rank));
  return read;
}

Read Series::nan_count(Range range, std::uint64_t* out) const {
  *out = 0;
  return ring_.scan(range, [&](const double* values, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) *out += values[i] != values[i] ? 1U : 0U;
  });
}

Read Series::median(Range range, double* out) const {
  Neighbours two;
  const Read read = select(range, (range.size() - 1) / 2, &two);
  *out = range.size() % 2 == 1 ? two.lower : (two.lower + two.upper) / 2.0;
  return read;
}

Read Series::quantile(Range range, double q, double* out) const {
  const double index = q * static_cast<double>(range.size() - 1);
  const double floor = std::floor(index);
  Neighbours two;
  const Read read = select(range, static_cast<std::uint64_t>(floor), &two);
  const double t = index - floor;
  const double gap = two.upper - two.lower;
  if (t == 0.0 || two.lower == two.upper) {
    *out = two.lower;
  } else {
    // From the nearer end, as numpy does.
    *out = t < 0.5 ? two.lower + gap * t : two.upper - gap * (1.0 - t);
  }
  return read;
}

Read Series::ema(Range range, double smoothing, double* out) const {
  const double terms = smoothing > 0.0 ? -60.0 / std::log2(smoothing) : 1.0;
  if (terms < static_cast<double>(range.size())) {
    range.begin = range.end - static_cast<std::uint64_t>(std::max(1.0, std::ceil(terms)));
  }
  std::vector<double> values(range.size());
  const Read read = ring_.copy(range, values.data(), nullptr, nullptr);
  double weight = 1.0;
  double weights = 0.0;
  double sum = 0.0;
  for (auto value = values.rbegin(); value != values.rend(); ++value) {
    sum += weight * *value;
    weights += weight;
    weight *= smoothing;
  }
  *out = sum / weights;
  return read;
}

}  // namespace ringmeter
