#include "core/summary.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/compensated_sum.h"

namespace ringmeter {

namespace {

// Additions run in kLanes independent chains, so that none waits for the one before. They are the same
// chains, and give the same bits, whatever the number of lanes that a processor's vectors hold.
constexpr std::size_t kLanes = 4;

// Vector types of GCC and Clang: one register on every target, and one with AVX.
using Pair = double __attribute__((vector_size(16)));
using Quad = double __attribute__((vector_size(32)));

template <class Vector>
constexpr std::size_t kWidth = sizeof(Vector) / sizeof(double);

// The other fields where `sum` is not finite. Squares are as numpy has them: the mean that an overflow left
// infinite is infinitely far from every value, and an infinity that is a value has no distance from itself.
void finish_without_sum(bool has_nan, Summary* result) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const bool overflowed = !has_nan && std::isfinite(result->minimum) && std::isfinite(result->maximum);
  result->squares = overflowed ? std::numeric_limits<double>::infinity() : nan;
  if (has_nan) result->minimum = result->maximum = nan;
}

// The rare block with a NaN or an infinity in it: IEEE rules, value by value.
Summary summarise_non_finite(const double* values, std::size_t n) {
  Summary result{0.0, 0.0, 0.0, values[0], values[0]};
  bool has_nan = false;
  for (std::size_t i = 0; i < n; ++i) {
    result.sum += values[i];
    has_nan = has_nan || std::isnan(values[i]);
    if (values[i] < result.minimum) result.minimum = values[i];
    if (values[i] > result.maximum) result.maximum = values[i];
  }
  finish_without_sum(has_nan, &result);
  return result;
}

template <class Vector>
inline __attribute__((always_inline)) Summary range_of(const double* values, std::size_t n) {
  constexpr std::size_t kVectors = kLanes / kWidth<Vector>;
  CompensatedSum sum;
  double minimum = values[0];
  double maximum = values[0];
  const std::size_t whole = n < 4 * kLanes ? 0 : n - n % kLanes;  // a few are faster one by one
  if (whole != 0) {
    Vector high[kVectors] = {};
    Vector low[kVectors] = {};
    Vector least[kVectors];
    Vector most[kVectors];
    std::memcpy(least, values, sizeof least);
    std::memcpy(most, values, sizeof most);
    for (std::size_t i = 0; i < whole; i += kLanes) {
      for (std::size_t j = 0; j < kVectors; ++j) {
        Vector value;
        std::memcpy(&value, values + i + j * kWidth<Vector>, sizeof value);
        const Vector total = high[j] + value;
        const Vector part = total - high[j];
        low[j] += (high[j] - (total - part)) + (value - part);
        high[j] = total;
        least[j] = value < least[j] ? value : least[j];
        most[j] = value > most[j] ? value : most[j];
      }
    }
    for (std::size_t j = 0; j < kVectors; ++j) {
      for (std::size_t lane = 0; lane < kWidth<Vector>; ++lane) {
        sum.add(high[j][lane], low[j][lane]);
        minimum = std::min(minimum, least[j][lane]);
        maximum = std::max(maximum, most[j][lane]);
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
template <class Vector>
inline __attribute__((always_inline)) double squares_about(double centre, const double* values,
                                                           std::size_t n) {
  constexpr std::size_t kVectors = kLanes / kWidth<Vector>;
  Vector squares[kVectors] = {};
  const std::size_t whole = n - n % kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t j = 0; j < kVectors; ++j) {
      Vector value;
      std::memcpy(&value, values + i + j * kWidth<Vector>, sizeof value);
      const Vector deviation = value - centre;
      squares[j] += deviation * deviation;
    }
  }
  double total = 0.0;
  for (const Vector& vector : squares) {
    for (std::size_t lane = 0; lane < kWidth<Vector>; ++lane) total += vector[lane];
  }
  for (std::size_t i = whole; i < n; ++i) total += (values[i] - centre) * (values[i] - centre);
  return total;
}

template <class Vector>
inline __attribute__((always_inline)) Summary summary_of(const double* values, std::size_t n,
                                                         bool with_squares) {
  Summary result = range_of<Vector>(values, n);
  if (with_squares && std::isfinite(result.sum)) {
    result.squares = squares_about<Vector>(result.sum / static_cast<double>(n), values, n);
  }
  return result;
}

#ifdef __x86_64__
// Twice as fast as with what every such processor has.
__attribute__((target("avx"))) Summary summary_of_avx(const double* values, std::size_t n,
                                                      bool with_squares) {
  return summary_of<Quad>(values, n, with_squares);
}
#endif

Summary dispatch(const double* values, std::size_t n, bool with_squares) {
#ifdef __x86_64__
  static const bool has_avx = __builtin_cpu_supports("avx") != 0;
  if (has_avx) return summary_of_avx(values, n, with_squares);
#endif
  return summary_of<Pair>(values, n, with_squares);
}

}  // namespace

Summary summarise(const double* values, std::size_t n) { return dispatch(values, n, true); }

Summary summarise_range(const double* values, std::size_t n) { return dispatch(values, n, false); }

Summary combine(const Piece* pieces, std::size_t n) {
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
  result.sum = sum.value();
  if (!std::isfinite(result.sum)) {  // as whenever a part has a NaN
    finish_without_sum(has_nan, &result);
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
