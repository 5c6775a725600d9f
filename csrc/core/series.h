// One named history: a ring of numbers with counts, and exact statistics over any range of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "core/number.h"
#include "core/ring.h"
#include "core/select.h"

namespace ringmeter {

// Any thread may call anything. Invariants:
//  1. Positions are the order of the pushes; what a position holds never changes once landed.
//  2. kind() only ever grows (bool < int < float), as the dtype of a numpy array that is appended to.
//  3. Statistics over a range depend on that range alone: they are the same whenever and by whomever
//     they are asked, bit for bit.
// The functions that fill in a result give Read::kOvertaken when part of the range has left the ring
// and Read::kPending when part of it has not landed; the result is then void. Ranges must not be empty.
class Series {
 public:
  // Reports the newest `max_length` > 0 numbers. The kinds are what kind() and count_kind() say before
  // the first push: mmengine's empty history is an array of floats, and stays one.
  Series(std::uint64_t max_length, NumberKind empty_kind, NumberKind empty_count_kind)
      : max_length_(max_length), ring_(max_length), kind_(empty_kind), count_kind_(empty_count_kind) {}

  // Sets what kind() and count_kind() say before the first push. Only while no other thread knows of
  // the series.
  void start_with(NumberKind kind, NumberKind count_kind) {
    kind_.store(kind, std::memory_order_relaxed);
    count_kind_.store(count_kind, std::memory_order_relaxed);
  }

  // Lock-free. Throws std::bad_alloc, and then nothing has changed.
  Position push(const Number& value) { return push_slot(encode(value.high), value, kOne); }
  Position push(const Number& value, const Number& count) {
    return push_slot(encode(value.high), value, count);
  }

  // Takes a position now for a number of that kind whose value comes later, once, through land(). An integer
  // may be wide: memory for that is taken when it lands, which waits until there is some.
  Position push_pending(NumberKind kind, const Number& count) {
    has_pending_.store(true, std::memory_order_relaxed);  // before the ticket: see below
    return push_slot(kPending, {0.0, 0.0, kind}, count);
  }
  void land(Position position, const Number& value) {
    if (value.low != 0.0) has_lows_.store(true, std::memory_order_relaxed);  // before the slot: see below
    ring_.land(position, encode(value.high), value.low);
  }

  Position position() const { return ring_.head(); }
  // The first position whose number has not landed.
  Position landed() const;
  std::uint64_t max_length() const { return max_length_; }
  NumberKind kind() const { return kind_.load(std::memory_order_relaxed); }
  NumberKind count_kind() const { return count_kind_.load(std::memory_order_relaxed); }

  // The newest `size` entries, at most `max_length`, as they were at position `at`.
  Range window(std::uint64_t size, Position at) const;

  Read at(Position position, Number* out) const;
  Read sum(Range range, Number* out) const;    // within 1 ulp of the correctly rounded sum
  Read count(Range range, double* out) const;  // sum of the counts
  Read mean(Range range, double* out) const;   // within 1 ulp of that sum, correctly rounded, / count
  Read minimum(Range range, Number* out) const;
  Read maximum(Range range, Number* out) const;
  Read std(Range range, double* out) const;  // sqrt(sum((value - mean)^2) / n), counts left out
  Read median(Range range, double* out) const;

  // By linear interpolation between the two nearest order statistics, `q` in [0, 1]: numpy's default,
  // method 7 of Hyndman and Fan (1996).
  Read quantile(Range range, double q, double* out) const;

  // sum(s^i * value[i]) / sum(s^i) over the values from the newest (i = 0) back, s = `smoothing` in
  // [0, 1): what pandas calls ewm(alpha=1 - s, adjust=True). Terms below 2^-60 of the newest are left
  // out, so that a NaN does not stay in it for ever.
  Read ema(Range range, double smoothing, double* out) const;

  // Copies values, the low parts of wide integers, and counts; the last two may be null.
  Read copy(Range range, double* values, double* lows, double* counts) const {
    return ring_.copy(range, values, lows, counts);
  }

  Read nan_count(Range range, std::uint64_t* out) const;

  // About how many entries of the range a statistic would have to look at one by one.
  std::uint64_t unsummarised(Range range) const;

 private:
  Position push_slot(SlotBits bits, const Number& value, const Number& count);
  static constexpr Number kOne{1.0, 0.0, NumberKind::kBool};  // the kind that changes none

  struct Total;
  template <class Column>
  Read total(Range range, Total* out) const;
  Read total_of_values(Range range, Total* out) const;
  Read exact_sum(Range range, Number* out) const;
  Read extreme(Range range, bool greatest, Number* out) const;
  Read wide(Range range, std::vector<Number>* out) const;
  // Asked after the slots were read: whoever has seen them sees the flag.
  bool may_have_lows() const { return has_lows_.load(std::memory_order_relaxed); }
  bool is_whole() const { return kind() != NumberKind::kFloat; }
  Read select(Range range, std::uint64_t rank, Neighbours* out) const;
  static void promote_to(std::atomic<NumberKind>& kind, NumberKind at_least);

  const std::uint64_t max_length_;
  Ring ring_;
  // Relaxed throughout: flags that only ever rise, each set before the push that needs it takes its
  // ticket, or the value that needs it lands; a reader that sees the slot (acquire) also sees them.
  std::atomic<NumberKind> kind_;
  std::atomic<NumberKind> count_kind_;
  std::atomic<bool> has_counts_{false};
  std::atomic<bool> has_lows_{false};
  std::atomic<bool> has_pending_{false};
  mutable std::atomic<Position> landed_to_{0};      // a hint, relaxed: all before it has landed
  mutable std::atomic<Position> summarised_to_{0};  // a hint, relaxed
};

inline void Series::promote_to(std::atomic<NumberKind>& kind, NumberKind at_least) {
  NumberKind now = kind.load(std::memory_order_relaxed);
  while (now < at_least && !kind.compare_exchange_weak(now, at_least, std::memory_order_relaxed)) {
  }
}

inline Position Series::push_slot(SlotBits bits, const Number& value, const Number& count) {
  ring_.prepare(value.low, count.high);  // may throw: nothing has changed yet
  promote_to(kind_, value.kind);
  promote_to(count_kind_, count.kind);
  if (count.high != 1.0) has_counts_.store(true, std::memory_order_relaxed);
  if (value.low != 0.0) has_lows_.store(true, std::memory_order_relaxed);
  return ring_.append_prepared(bits, value.low, count.high);
}

}  // namespace ringmeter
