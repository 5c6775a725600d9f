#include "core/summary.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/compensated_sum.h"

namespace ringmeter {

namespace {

// Independent chains, so that no addition waits for the one before: `kWays` vectors of two doubles
// (a vector type of GCC and Clang, one register on every target).
using Pair = double __attribute__((vector_size(16)));
constexpr std::size_t kPair = 2;
constexpr std::size_t kWays = 2;
constexpr std::size_t kStride = kPair * kWays;

inline void load_pair(const double* values, Pair* pair) { std::memcpy(pair, values, sizeof *pair); }

// The rare block with a NaN or an infinity in it: IEEE rules, value by value.
Summary summarise_non_finite(const double* values, std::size_t n) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Summary result{0.0, 0.0, nan, values[0], values[0]};
  bool has_nan = false;
  for (std::size_t i = 0; i < n; ++i) {
    result.sum += values[i];
    has_nan = has_nan || std::isnan(values[i]);
    if (values[i] < result.minimum) result.minimum = values[i];
    if (values[i] > result.maximum) result.maximum = values[i];
  }
  if (has_nan) result.minimum = result.maximum = nan;
  return result;
}

}  // namespace

Summary summarise_range(const double* values, std::size_t n) {
  CompensatedSum sum;
  double minimum = values[0];
  double maximum = values[0];
  const std::size_t whole = n < 4 * kStride ? 0 : n - n % kStride;  // a few are faster one by one
  if (whole != 0) {
    Pair high[kWays] = {};
    Pair low[kWays] = {};
    Pair least[kWays];
    Pair most[kWays];
    for (std::size_t way = 0; way < kWays; ++way) {
      load_pair(values + way * kPair, &least[way]);
      most[way] = least[way];
    }
    for (std::size_t i = 0; i < whole; i += kStride) {
      for (std::size_t way = 0; way < kWays; ++way) {
        Pair value;
        load_pair(values + i + way * kPair, &value);
        const Pair total = high[way] + value;
        const Pair part = total - high[way];
        low[way] += (high[way] - (total - part)) + (value - part);
        high[way] = total;
        least[way] = value < least[way] ? value : least[way];
        most[way] = value > most[way] ? value : most[way];
      }
    }
    for (std::size_t way = 0; way < kWays; ++way) {
      for (std::size_t lane = 0; lane < kPair; ++lane) {
        sum.add(high[way][lane], low[way][lane]);
        minimum = std::min(minimum, least[way][lane]);
        maximum = std::max(maximum, most[way][lane]);
      }
    }
  }
  for (std::size_t i = whole; i < n; ++i) {
    sum.add(values[i]);
    minimum = std::min(minimum, values[i]);
    maximum = std::max(maximum, values[i]);
  }
  sum.normalise();
  // A NaN or an infinity stays in `high` to the end. Finite values whose sum overflows come here too:
  // numpy answers inf, and so does plain addition.
  if (!std::isfinite(sum.high())) return summarise_non_finite(values, n);
  return {sum.high(), sum.low(), 0.0, minimum, maximum};
}

// Sum over (value - centre)^2.
static double squares_about(double centre, const double* values, std::size_t n) {
  Pair squares[kWays] = {};
  const std::size_t whole = n - n % kStride;
  for (std::size_t i = 0; i < whole; i += kStride) {
    for (std::size_t way = 0; way < kWays; ++way) {
      Pair value;
      load_pair(values + i + way * kPair, &value);
      const Pair deviation = value - centre;
      squares[way] += deviation * deviation;
    }
  }
  double total = 0.0;
  for (const Pair& pair : squares) total += pair[0] + pair[1];
  for (std::size_t i = whole; i < n; ++i) total += (values[i] - centre) * (values[i] - centre);
  return total;
}

Summary summarise(const double* values, std::size_t n) {
  Summary result = summarise_range(values, n);
  if (std::isfinite(result.sum)) {
    result.squares = squares_about(result.sum / static_cast<double>(n), values, n);
  }
  return result;
}

Summary combine(const Piece* pieces, std::size_t n) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CompensatedSum sum;
  Summary result{0.0, 0.0, 0.0, pieces[0].summary.minimum, pieces[0].summary.maximum};
  double size = 0.0;
  bool has_nan = false;
  for (std::size_t i = 0; i < n; ++i) {
    const Summary& part = pieces[i].summary;
    sum.add(part.sum, part.sum_low);
    size += pieces[i].size;
    has_nan = has_nan || std::isnan(part.minimum);
    result.minimum = std::min(result.minimum, part.minimum);
    result.maximum = std::max(result.maximum, part.maximum);
  }
  if (has_nan) result.minimum = result.maximum = nan;
  result.sum = sum.value();
  if (!std::isfinite(result.sum)) {
    result.squares = nan;
    return result;
  }
  sum.normalise();
  result.sum_low = sum.low();
  // Chan, Golub and LeVeque (1983): each part's own squares, and its mean against the common one.
  const double mean = result.sum / size;
  for (std::size_t i = 0; i < n; ++i) {
    const Summary& part = pieces[i].summary;
    const double deviation = part.sum / pieces[i].size - mean;
    result.squares += part.squares + pieces[i].size * deviation * deviation;
  }
  return result;
}

void SummaryCell::store(std::uint64_t block, const Summary& summary) {
  std::uint64_t seen = state_.load(std::memory_order_relaxed);  // only a guess: E decides
  if ((seen & 1) != 0 || seen >= ready(block)) return;
  // E: acquire, so that the fields below are not written before the cell is ours
  if (!state_.compare_exchange_strong(seen, busy(block), std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
    return;
  }
  sum_.store(summary.sum, std::memory_order_release);  // F
  sum_low_.store(summary.sum_low, std::memory_order_release);
  squares_.store(summary.squares, std::memory_order_release);
  minimum_.store(summary.minimum, std::memory_order_release);
  maximum_.store(summary.maximum, std::memory_order_release);
  state_.store(ready(block), std::memory_order_release);  // G
}

}  // namespace ringmeter
