// What the ring remembers of a complete block of entries, and the cell in which it remembers it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ringmeter {

// Sum (as high + low), squared deviations from the block's own mean, and range of n values.
// Combining is associative and commutative up to rounding; any NaN makes every field NaN. Where an infinity
// or an overflow leaves no finite sum, `sum` is what plain addition gives and `squares` what numpy's std has.
struct Summary {
  double sum;  // no initial values: arrays of these are made for every query
  double sum_low;
  double squares;  // sum over (value - mean of the block)^2
  double minimum;
  double maximum;

  // Of `n` counts that are all 1.
  static Summary of_ones(std::size_t n) { return {static_cast<double>(n), 0.0, 0.0, 1.0, 1.0}; }
};

// Summary of `n` > 0 values.
Summary summarise(const double* values, std::size_t n);

// The same without `squares`, in two thirds of the time.
Summary summarise_range(const double* values, std::size_t n);

// The summary of `size` entries, which are part of something larger.
struct Piece {
  Summary summary;
  double size;
};

// Summary of `n` > 0 pieces together.
Summary combine(const Piece* pieces, std::size_t n);

// Holds the summary of one block number at a time, for any number of racing threads.
//
// Any thread may call load() and store(). Whoever computes the summary of a block number computes
// the same bits, so it matters only that no mixture of two block numbers is ever read:
//
//   store(n)                                    load(n)
//   E  state: compare-exchange  s -> busy(n)    H  state == ready(n)?     (acquire, matches G)
//   F  fields                   (release)       I  fields                 (acquire, matches F)
//   G  state := ready(n)        (release)       J  state unchanged?       (relaxed: after I)
//
// A reader that saw a field of a later store at I happens after that store's E, so J sees it and
// refuses. E fails when the cell is busy or already holds a later block: then nothing is stored, and
// the value is computed again next time. Block numbers grow with time, so a cell is never cleared.
class SummaryCell {
 public:
  bool load(std::uint64_t block, Summary* out) const;
  void store(std::uint64_t block, const Summary& summary);

 private:
  static std::uint64_t ready(std::uint64_t block) { return (block + 1) << 1; }
  static std::uint64_t busy(std::uint64_t block) { return ready(block) | 1; }

  std::atomic<std::uint64_t> state_{0};
  std::atomic<double> sum_{0.0};
  std::atomic<double> sum_low_{0.0};
  std::atomic<double> squares_{0.0};
  std::atomic<double> minimum_{0.0};
  std::atomic<double> maximum_{0.0};
};

inline bool SummaryCell::load(std::uint64_t block, Summary* out) const {
  const std::uint64_t expected = ready(block);
  if (state_.load(std::memory_order_acquire) != expected) return false;  // H
  out->sum = sum_.load(std::memory_order_acquire);                       // I
  out->sum_low = sum_low_.load(std::memory_order_acquire);
  out->squares = squares_.load(std::memory_order_acquire);
  out->minimum = minimum_.load(std::memory_order_acquire);
  out->maximum = maximum_.load(std::memory_order_acquire);
  return state_.load(std::memory_order_relaxed) == expected;  // J
}

}  // namespace ringmeter
