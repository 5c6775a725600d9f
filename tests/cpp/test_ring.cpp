#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <new>
#include <vector>

#include "allocation.h"
#include "core/ring.h"
#include "fixed_point_sum.h"
#include "tally.h"

using namespace ringmeter;
using ringmeter::tests::exact_sum;
using ringmeter::tests::live_chunks;
using ringmeter::tests::MemoryRunsOut;
using ringmeter::tests::Tally;

namespace {

const std::uint64_t kMinEntries[] = {1, 2, 127, 128, 1023, 1024, 1025, 5000, 200'000};

// What a ring may hold at most: three chunks more than asked for.
std::uint64_t most_entries(std::uint64_t min_entries) { return min_entries + 3 * 1024; }

// Values, lows and counts that depend on the position alone.
double value_at(Position position) { return static_cast<double>(position) * 0.5 - 100.0; }
double low_at(Position position) { return position % 3 == 0 ? 0.0 : static_cast<double>(position % 5); }
double count_at(Position position) { return 1.0 + static_cast<double>(position % 4); }

void append_values(Ring* ring, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) ring->append(encode(value_at(ring->head())), 0.0, 1.0);
}

void append_everything(Ring* ring, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    const Position at = ring->head();
    ring->append(encode(value_at(at)), low_at(at), count_at(at));
  }
}

Read copied(const Ring& ring, Range range, std::vector<double>* out) {
  out->assign(range.size(), -1.0);
  return ring.copy(range, out->data(), nullptr, nullptr);
}

bool has_all_values(const Ring& ring, Range range) {
  std::vector<double> values;
  if (copied(ring, range, &values) != Read::kOk) return false;
  for (std::uint64_t i = 0; i < range.size(); ++i) {
    if (values[i] != value_at(range.begin + i)) return false;
  }
  return true;
}

Read read_one(const Ring& ring, Position at) {
  double value = 0.0;
  return ring.copy({at, at + 1}, &value, nullptr, nullptr);
}

template <class Column>
std::vector<double> piece_sizes(const Ring& ring, Range range) {
  Pieces pieces;
  std::vector<double> sizes;
  if (ring.gather<Column>(range, true, &pieces) != Read::kOk) return sizes;
  for (const Piece& piece : pieces) sizes.push_back(piece.size);
  return sizes;
}

}  // namespace

TEST_CASE("test_append_gives_consecutive_positions_when_one_thread_appends") {
  Ring ring(10);
  CHECK(ring.head() == 0);
  for (Position expected = 0; expected < 5000; ++expected) {
    REQUIRE(ring.append(encode(1.0), 0.0, 1.0) == expected);
    REQUIRE(ring.head() == expected + 1);
  }
}

TEST_CASE("test_copy_gives_values_lows_and_counts_when_they_were_appended") {
  Ring ring(3000);
  append_everything(&ring, 3000);
  std::vector<double> values(2000);
  std::vector<double> lows(2000);
  std::vector<double> counts(2000);
  REQUIRE(ring.copy({700, 2700}, values.data(), lows.data(), counts.data()) == Read::kOk);
  Tally tally;
  for (std::size_t i = 0; i < 2000; ++i) {
    tally.expect(values[i] == value_at(700 + i), "value ", i, ": ", values[i]);
    tally.expect(lows[i] == low_at(700 + i), "low ", i, ": ", lows[i]);
    tally.expect(counts[i] == count_at(700 + i), "count ", i, ": ", counts[i]);
  }
  tally.check();
}

TEST_CASE("test_copy_gives_the_defaults_when_lows_and_counts_were_never_given") {
  Ring ring(100);
  append_values(&ring, 100);
  ring.append(encode(7.0), 0.0, 3.0);
  std::vector<double> values(101);
  std::vector<double> lows(101, -1.0);
  std::vector<double> counts(101, -1.0);
  REQUIRE(ring.copy({0, 101}, values.data(), lows.data(), counts.data()) == Read::kOk);
  CHECK(std::count(counts.begin(), counts.end(), 1.0) == 100);
  CHECK(counts[100] == 3.0);
  CHECK(std::count(lows.begin(), lows.end(), 0.0) == 101);
}

TEST_CASE("test_counts_are_one_again_when_a_chunk_is_used_for_a_second_time") {
  Ring ring(1);
  append_everything(&ring, 6 * 1024);  // a count and a low in every chunk there is
  append_values(&ring, 12 * 1024);
  std::vector<double> values(2048);
  std::vector<double> lows(2048);
  std::vector<double> counts(2048);
  REQUIRE(ring.copy({16 * 1024, 18 * 1024}, values.data(), lows.data(), counts.data()) == Read::kOk);
  CHECK(std::count(counts.begin(), counts.end(), 1.0) == 2048);
  CHECK(std::count(lows.begin(), lows.end(), 0.0) == 2048);
}

TEST_CASE("test_ring_keeps_what_it_promises_when_it_is_lapped") {
  for (const std::uint64_t min_entries : kMinEntries) {
    CAPTURE(min_entries);
    Ring ring(min_entries);
    const std::uint64_t total = 3 * most_entries(min_entries) + 17;
    const std::uint64_t step = min_entries > 10'000 ? 49'999 : 509;
    Tally tally;
    while (ring.head() < total) {
      append_values(&ring, step);
      const Position head = ring.head();
      const std::uint64_t kept = std::min(head, min_entries + 1024);
      tally.expect(has_all_values(ring, {head - kept, head}), "the newest ", kept, " at ", head);
      if (head <= most_entries(min_entries)) continue;
      const Position gone = head - most_entries(min_entries) - 1;
      tally.expect(read_one(ring, gone) == Read::kOvertaken, gone, " at ", head);
      tally.expect(read_one(ring, 0) == Read::kOvertaken, "0 at ", head);
      std::vector<double> values;
      tally.expect(copied(ring, {gone, head}, &values) == Read::kOvertaken, gone, " and on at ", head);
    }
    tally.check();
  }
}

TEST_CASE("test_ring_keeps_a_whole_range_when_the_newest_entry_is_a_chunk_ahead") {
  // For every alignment of the newest entry in its chunk, and the next chunk already made.
  Ring ring(100);
  append_values(&ring, 20'000);
  Tally tally;
  for (int i = 0; i < 2100; ++i) {
    append_values(&ring, 1);
    const Position end = ring.head() - 1024;
    tally.expect(has_all_values(ring, {end - 100, end}), "behind ", ring.head());
  }
  tally.check();
}

TEST_CASE("test_gather_overtakes_when_the_range_was_never_summarised_and_has_left") {
  Ring ring(1000);
  append_values(&ring, 50'000);
  Pieces pieces;
  CHECK(ring.gather<Ring::Values>({100, 300}, true, &pieces) == Read::kOvertaken);
  CHECK(ring.gather<Ring::Values>({0, 16'384}, true, &pieces) == Read::kOvertaken);
  CHECK(ring.gather<Ring::Values>({0, 50'000}, true, &pieces) == Read::kOvertaken);
}

TEST_CASE("test_gather_takes_the_largest_blocks_when_the_range_allows_it") {
  Ring ring(300'000);
  append_values(&ring, 300'000);
  CHECK(piece_sizes<Ring::Values>(ring, {0, 5}) == std::vector<double>{5});
  CHECK(piece_sizes<Ring::Values>(ring, {100, 130}) == std::vector<double>{28, 2});
  CHECK(piece_sizes<Ring::Values>(ring, {0, 128}) == std::vector<double>{128});
  CHECK(piece_sizes<Ring::Values>(ring, {127, 257}) == std::vector<double>{1, 128, 1});
  CHECK(piece_sizes<Ring::Values>(ring, {0, 1024}) == std::vector<double>{1024});
  CHECK(piece_sizes<Ring::Values>(ring, {896, 2049}) == std::vector<double>{128, 1024, 1});
  CHECK(piece_sizes<Ring::Values>(ring, {896, 2688}) ==
        std::vector<double>{128, 1024, 128, 128, 128, 128, 128});
}

TEST_CASE("test_gather_gives_one_piece_and_the_loose_ends_when_the_range_is_long") {
  Ring ring(300'000);
  append_everything(&ring, 300'000);
  CHECK(piece_sizes<Ring::Values>(ring, {0, 2048}) == std::vector<double>{2048});
  // One short of every border on the left, one past it on the right: every size of block is needed.
  const Range range{1, 4 * 65536 - 1};
  const std::vector<double> sizes{127.0, 4.0 * 65536 - 256.0, 127.0};
  CHECK(piece_sizes<Ring::Values>(ring, range) == sizes);
  CHECK(piece_sizes<Ring::Counts>(ring, range) == sizes);
}

TEST_CASE("test_gather_is_right_when_long_ranges_that_end_alike_are_asked_in_any_order") {
  Ring ring(100'000);
  append_values(&ring, 100'000);
  Tally tally;
  // The kept sum is of one range at a time: no other may be taken for it.
  for (const Range range : {Range{128, 90'112}, Range{0, 90'112}, Range{128, 90'112}, Range{256, 90'240},
                            Range{128, 90'112}, Range{256, 90'240}, Range{0, 90'239}, Range{129, 90'241}}) {
    Pieces pieces;
    tally.expect(ring.gather<Ring::Values>(range, false, &pieces) == Read::kOk, "read");
    double sum = 0.0;  // halves: exact
    for (const Piece& piece : pieces) sum += piece.summary.sum;
    const double expected =
        (value_at(range.begin) + value_at(range.end - 1)) * static_cast<double>(range.size()) / 2.0;
    tally.expect(sum == expected, "[", range.begin, ", ", range.end, "): ", sum, ", not ", expected);
  }
  tally.check();
}

TEST_CASE("test_gather_gives_the_same_bits_when_asked_cold_and_again") {
  Ring ring(300'000);
  append_everything(&ring, 300'000);
  for (const Range range : {Range{0, 300'000}, Range{77, 299'999}, Range{65'535, 131'073}}) {
    Pieces cold;
    Pieces warm;
    REQUIRE(ring.gather<Ring::Values>(range, true, &cold) == Read::kOk);
    REQUIRE(ring.gather<Ring::Values>(range, true, &warm) == Read::kOk);
    REQUIRE(cold.count() == warm.count());
    Tally tally;
    for (std::size_t i = 0; i < cold.count(); ++i) {
      const Summary& a = cold.begin()[i].summary;
      const Summary& b = warm.begin()[i].summary;
      tally.expect(a.sum == b.sum && a.sum_low == b.sum_low && a.squares == b.squares &&
                       a.minimum == b.minimum && a.maximum == b.maximum,
                   "piece ", i);
    }
    tally.check();
  }
}

TEST_CASE("test_gather_of_counts_is_ones_when_only_some_chunks_have_counts") {
  Ring ring(10'000);
  append_values(&ring, 1500);
  append_everything(&ring, 200);  // counts in the second chunk only
  append_values(&ring, 8000);
  Pieces pieces;
  REQUIRE(ring.gather<Ring::Counts>({0, 9700}, true, &pieces) == Read::kOk);
  std::vector<double> counts(9700);
  std::vector<double> values(9700);
  REQUIRE(ring.copy({0, 9700}, values.data(), nullptr, counts.data()) == Read::kOk);
  const Summary all = combine(pieces.begin(), pieces.count());
  CHECK(all.sum == exact_sum(counts));
  CHECK(all.sum == 10'000.0);  // 200 of 1, 2, 3, 4 in turn are 500
  CHECK(all.minimum == 1.0);
  CHECK(all.maximum == 4.0);
}

TEST_CASE("test_gather_of_counts_stays_right_when_a_count_comes_after_the_leaf_was_summarised") {
  Ring ring(10'000);
  append_values(&ring, 128);
  Pieces before;
  REQUIRE(ring.gather<Ring::Counts>({0, 128}, true, &before) == Read::kOk);
  ring.append(encode(1.0), 0.0, 5.0);  // makes the column that the first leaf shares
  append_values(&ring, 127);
  Pieces after;
  REQUIRE(ring.gather<Ring::Counts>({0, 256}, true, &after) == Read::kOk);
  REQUIRE(after.count() == 2);
  CHECK(before.begin()[0].summary.sum == 128.0);
  CHECK(after.begin()[0].summary.sum == 128.0);
  CHECK(after.begin()[1].summary.sum == 132.0);
}

TEST_CASE("test_scan_hands_over_every_value_in_order_when_the_range_crosses_chunks") {
  Ring ring(5000);
  append_values(&ring, 5000);
  Position at = 100;
  Tally tally;
  const Read read = ring.scan({100, 4900}, [&](const double* values, std::size_t n) {
    tally.expect(n > 0 && n <= 128, "a piece of ", n);
    for (std::size_t i = 0; i < n; ++i, ++at) tally.expect(values[i] == value_at(at), "at ", at);
  });
  CHECK(read == Read::kOk);
  CHECK(at == 4900);
  tally.check();
}

TEST_CASE("test_pieces_keep_the_whole_when_there_are_more_than_they_hold") {
  Pieces pieces;
  std::vector<double> values;
  for (int i = 0; i < 1000; ++i) {
    const double value = i % 2 == 0 ? 1e10 + i : 0.001 * i;
    values.push_back(value);
    *pieces.add(1) = {value, 0.0, 0.0, value, value};
  }
  CHECK(pieces.count() < 200);
  double size = 0.0;
  for (const Piece& piece : pieces) size += piece.size;
  CHECK(size == 1000.0);
  const Summary all = combine(pieces.begin(), pieces.count());
  CHECK(all.sum == exact_sum(values));
  CHECK(all.minimum == 0.001);
  CHECK(all.maximum == 1e10 + 998.0);
}

TEST_CASE("test_a_range_is_pending_when_it_holds_an_entry_that_has_not_landed") {
  Ring ring(5000);
  append_values(&ring, 200);
  const Position at = ring.append(kPending, 0.0, 4.0);
  append_values(&ring, 1000);
  CHECK(read_one(ring, at) == Read::kPending);
  Pieces pieces;
  CHECK(ring.gather<Ring::Values>({0, 1201}, true, &pieces) == Read::kPending);
  CHECK(ring.gather<Ring::Counts>({0, 1201}, true, &pieces) == Read::kPending);
  CHECK(ring.scan({150, 300}, [](const double*, std::size_t) {}) == Read::kPending);
  CHECK(has_all_values(ring, {0, at}));
  CHECK(has_all_values(ring, {at + 1, 1201}));

  ring.land(at, encode(value_at(at)), 0.0);
  CHECK(has_all_values(ring, {0, 1201}));
  Pieces counts;
  REQUIRE(ring.gather<Ring::Counts>({0, 1201}, true, &counts) == Read::kOk);
  CHECK(combine(counts.begin(), counts.count()).sum == 1204.0);
}

TEST_CASE("test_land_stores_a_nan_when_it_is_given_one") {
  Ring ring(10);
  const Position at = ring.append(kPending, 0.0, 1.0);
  ring.land(at, encode(decode(kPending)), 0.0);
  double value = 0.0;
  REQUIRE(ring.copy({at, at + 1}, &value, nullptr, nullptr) == Read::kOk);
  CHECK(std::isnan(value));
}

TEST_CASE("test_land_changes_nothing_when_the_entry_has_left_the_ring") {
  Ring ring(1);
  append_values(&ring, 500);
  const Position at = ring.append(kPending, 0.0, 1.0);
  for (int laps = 0; laps < 30; ++laps) {
    append_values(&ring, 3 * 1024);
    REQUIRE(has_all_values(ring, {ring.head() - 1025, ring.head()}));
  }
  const Position head = ring.head();
  ring.land(at, encode(-1.0), 0.0);
  CHECK(has_all_values(ring, {head - 1025, head}));
  CHECK(read_one(ring, at) == Read::kOvertaken);
  append_values(&ring, 30 * 1024);
  CHECK(has_all_values(ring, {ring.head() - 1025, ring.head()}));
}

TEST_CASE("test_ring_takes_no_more_chunks_when_it_is_lapped_by_one_thread") {
  for (const std::uint64_t min_entries : {1U, 1024U, 5000U, 200'000U}) {
    CAPTURE(min_entries);
    const std::ptrdiff_t before = live_chunks();
    {
      Ring ring(min_entries);
      CHECK(live_chunks() == before);
      append_everything(&ring, 5 * most_entries(min_entries));
      CHECK(live_chunks() - before <= static_cast<std::ptrdiff_t>(min_entries / 1024 + 4));
    }
    CHECK(live_chunks() == before);
  }
}

TEST_CASE("test_ring_frees_every_chunk_when_entries_never_landed") {
  const std::ptrdiff_t before = live_chunks();
  {
    Ring ring(1);
    for (int i = 0; i < 100; ++i) {
      ring.append(kPending, 0.0, 2.0);
      append_values(&ring, 1500);
    }
  }
  CHECK(live_chunks() == before);
}

TEST_CASE("test_append_throws_and_takes_no_position_when_there_is_no_memory") {
  struct Case {
    std::uint64_t before;
    double low;
    double count;
  };
  // The first chunk; a later one; a column for counts; one for low parts.
  for (const Case& each :
       {Case{0, 0.0, 1.0}, Case{2048, 0.0, 1.0}, Case{100, 0.0, 2.0}, Case{100, 1.0, 1.0}}) {
    CAPTURE(each.before);
    Ring ring(100'000);
    append_values(&ring, each.before);
    bool thrown = false;
    {
      const MemoryRunsOut now;
      try {
        ring.append(encode(1.0), each.low, each.count);
      } catch (const std::bad_alloc&) {
        thrown = true;
      }
    }
    CHECK(thrown);
    CHECK(ring.head() == each.before);
    CHECK(ring.append(encode(value_at(each.before)), each.low, each.count) == each.before);
    CHECK(has_all_values(ring, {0, each.before + 1}));
  }
}

TEST_CASE("test_append_succeeds_when_there_is_no_memory_but_none_is_needed") {
  Ring ring(1);
  append_everything(&ring, 4 * 1024 + 1);  // every chunk made, one of them retired
  bool thrown = false;
  {
    const MemoryRunsOut now;
    try {
      append_everything(&ring, 20 * 1024);
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
  }
  CHECK_FALSE(thrown);
  CHECK(ring.head() == 24 * 1024 + 1);
  CHECK(has_all_values(ring, {ring.head() - 1025, ring.head()}));
}

TEST_CASE("test_a_ring_refuses_when_it_cannot_keep_as_many_entries_as_asked") {
  // Nothing has 2^64 slots: a ring that is made all the same keeps fewer than it promised.
  for (const std::uint64_t min_entries :
       {std::numeric_limits<std::uint64_t>::max(), std::numeric_limits<std::uint64_t>::max() - 1000}) {
    CAPTURE(min_entries);
    bool thrown = false;
    try {
      const Ring ring(min_entries);
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
    CHECK(thrown);
  }
}
