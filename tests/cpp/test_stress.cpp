#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "allocation.h"
#include "core/series.h"
#include "core/summary.h"
#include "fixed_point_sum.h"
#include "stamp.h"
#include "tally.h"
#include "threads.h"

using namespace ringmeter;
using namespace ringmeter::tests;

namespace {

constexpr std::size_t kMaxWriters = 16;

// ThreadSanitizer makes all this some 20 times slower, and sees at once what else takes luck.
#if defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kEffort = 1;
#else
constexpr std::uint64_t kEffort = 5;
#endif

// How long writers write and readers read: at least so many pushes each, and on until the readers have seen
// enough (on few cores they may be late), but never more than 20 times as many.
class Pace {
 public:
  Pace(std::uint64_t pushes, std::uint64_t reads, std::size_t writers)
      : pushes_(kEffort * pushes), reads_(kEffort * reads), writing_(writers) {}

  // Writers: whether to make push number `done`.
  bool go_on(std::uint64_t done) const {
    return done < pushes_ || (done < 20 * pushes_ && answered_.load(std::memory_order_relaxed) < reads_);
  }
  void writer_is_done() { writing_.fetch_sub(1); }

  // Readers.
  bool anyone_writes() const { return writing_.load() != 0; }
  void answered() { answered_.fetch_add(1, std::memory_order_relaxed); }

  void check() const { CHECK(answered_.load() >= reads_); }

 private:
  const std::uint64_t pushes_;
  const std::uint64_t reads_;
  std::atomic<std::size_t> writing_;
  std::atomic<std::uint64_t> answered_{0};
};

// Where two threads wait for each other. They spin at first, to leave at the same moment.
class Meeting {
 public:
  void meet() {
    const std::uint64_t last = came_.fetch_add(1) / 2 * 2 + 2;
    for (int turns = 0; came_.load() < last; ++turns) {
      if (turns > 50'000) std::this_thread::yield();
    }
  }

 private:
  std::atomic<std::uint64_t> came_{0};
};

// One tally a thread, added up at the end.
struct Tallies {
  explicit Tallies(std::size_t n) : each(n) {}
  ~Tallies() {
    Tally all;
    for (const Tally& tally : each) all.add(tally);
    all.check();
  }
  std::vector<Tally> each;
};

// Values that were copied from a ring, in order.
struct Copied {
  std::vector<double> values;
  std::vector<double> lows;
  std::vector<double> counts;

  Read read(const Series& series, Range range) {
    values.assign(range.size(), -1.0);
    lows.assign(range.size(), -1.0);
    counts.assign(range.size(), -1.0);
    return series.copy(range, values.data(), lows.data(), counts.data());
  }
};

// Each value is whole, has its own count, and comes after the writer's one before.
void expect_stamps(const Copied& copied, bool wide, Tally* tally) {
  std::int64_t last[kMaxWriters];
  std::fill(std::begin(last), std::end(last), -1);
  for (std::size_t i = 0; i < copied.values.size(); ++i) {
    const double value = copied.values[i];
    const std::optional<Stamp> stamp = wide ? Stamp::of_wide(value, copied.lows[i]) : Stamp::of_value(value);
    tally->expect(stamp.has_value(), "torn: ", value, " + ", copied.lows[i]);
    if (!stamp) continue;
    tally->expect(copied.counts[i] == stamp->count(), "count ", copied.counts[i], " beside ", stamp->writer,
                  ":", stamp->sequence);
    const auto sequence = static_cast<std::int64_t>(stamp->sequence);
    tally->expect(sequence > last[stamp->writer], "writer ", stamp->writer, ": ", sequence, " after ",
                  last[stamp->writer]);
    last[stamp->writer] = sequence;
  }
}

Number stamped(const Stamp& stamp, bool wide) {
  return wide ? Number::integer(stamp.wide()) : Number::real(stamp.value());
}

// Pushes stamps and looks at each again: it is there, or the ring has moved on. Gives the number of pushes.
std::uint64_t write_stamps(Series* series, std::uint64_t writer, bool wide, Pace* pace, Tally* tally) {
  Position last = 0;
  Stamp stamp{writer, 0};
  for (; pace->go_on(stamp.sequence); ++stamp.sequence) {
    const Number number = stamped(stamp, wide);
    const Position at = series->push(number, Number::real(stamp.count()));
    tally->expect(stamp.sequence == 0 || at > last, "position ", at, " after ", last);
    last = at;
    if (stamp.sequence % 16 != 0) continue;
    double value = 0.0;
    double low = 0.0;
    double count = 0.0;
    if (series->copy({at, at + 1}, &value, &low, &count) != Read::kOk) continue;
    tally->expect(value == number.high && low == number.low && count == stamp.count(), "at ", at, " is ",
                  value, " + ", low, ", not ", number.high);
  }
  pace->writer_is_done();
  return stamp.sequence;
}

struct Crowd {
  std::size_t writers;
  std::size_t readers;
  std::uint64_t pushes;  // of each writer, at least
  std::uint64_t reads;   // of all readers together, at least
  std::uint64_t window;
  bool wide;
  bool keeps_all;  // whether nothing can leave the ring
};

// Copies the newest entries over and over while anyone writes.
void read_stamps(const Series& series, const Crowd& crowd, std::uint64_t seed, Pace* pace, Tally* tally) {
  std::mt19937_64 random(seed);
  Copied copied;
  while (pace->anyone_writes()) {
    const Range range = series.window(random() % crowd.window + 1, series.position());
    if (range.size() == 0) continue;
    const Read read = copied.read(series, range);
    tally->expect(read == Read::kOk || (read == Read::kOvertaken && !crowd.keeps_all), "read to ", range.end);
    if (read != Read::kOk) continue;
    expect_stamps(copied, crowd.wide, tally);
    pace->answered();
  }
}

// Writers and readers on one series. Gives the number of pushes of each writer.
std::vector<std::uint64_t> let_loose(Series* series, const Crowd& crowd) {
  Pace pace(crowd.pushes, crowd.reads, crowd.writers);
  Tallies tallies(crowd.writers + crowd.readers);
  std::vector<std::uint64_t> pushed(crowd.writers);
  std::vector<std::function<void()>> jobs;
  for (std::size_t i = 0; i < crowd.writers; ++i) {
    jobs.push_back([&, i] { pushed[i] = write_stamps(series, i, crowd.wide, &pace, &tallies.each[i]); });
  }
  for (std::size_t i = crowd.writers; i < crowd.writers + crowd.readers; ++i) {
    jobs.push_back([&, i] { read_stamps(*series, crowd, i, &pace, &tallies.each[i]); });
  }
  run_together(jobs);
  pace.check();
  return pushed;
}

std::uint64_t total_of(const std::vector<std::uint64_t>& pushed) {
  std::uint64_t total = 0;
  for (const std::uint64_t n : pushed) total += n;
  return total;
}

// What a position holds where one thread writes: everything follows from the position alone.
double value_at(Position at) { return static_cast<double>(at); }
double count_at(Position at) { return 1.0 + static_cast<double>(at % 4) * 0.5; }

// The sum of count_at() over [0, at): 1 + 1.5 + 2 + 2.5 = 7 every four.
double counts_before(Position at) {
  const double part[] = {0.0, 1.0, 2.5, 4.5};
  return static_cast<double>(at / 4) * 7.0 + part[at % 4];
}

// Every statistic of a range of that series, in closed form. All but std are exact in double.
void expect_closed_forms(const Series& series, Range range, std::uint64_t what, Pace* pace, Tally* tally) {
  const auto n = static_cast<double>(range.size());
  const double first = value_at(range.begin);
  const double last = value_at(range.end - 1);
  const double sum = (first + last) * n / 2.0;
  const double count = counts_before(range.end) - counts_before(range.begin);
  Number number;
  double value = 0.0;
  Read read = Read::kOk;
  double expected = 0.0;
  double slack = 0.0;
  switch (what % 8) {
    case 0:
      read = series.sum(range, &number);
      value = number.high;
      expected = sum;
      break;
    case 1:
      read = series.count(range, &value);
      expected = count;
      break;
    case 2:
      read = series.mean(range, &value);
      expected = sum / count;
      break;
    case 3:
      read = series.minimum(range, &number);
      value = number.high;
      expected = first;
      break;
    case 4:
      read = series.maximum(range, &number);
      value = number.high;
      expected = last;
      break;
    case 5:
      read = series.median(range, &value);
      expected = (first + last) / 2.0;
      break;
    case 6:
      read = series.at(range.begin, &number);
      value = number.high;
      expected = first;
      break;
    default:
      read = series.std(range, &value);
      expected = std::sqrt((n * n - 1.0) / 12.0);
      slack = expected * 1e-9 + last * 0x1p-50;
      break;
  }
  if (read != Read::kOk) return;
  tally->expect(std::fabs(value - expected) <= slack, "statistic ", what % 8, " over [", range.begin, ", ",
                range.end, "): ", value, ", not ", expected);
  pace->answered();
}

void write_positions(Series* series, Pace* pace, Tally* tally) {
  std::uint64_t n = 0;
  for (; pace->go_on(n); ++n) {
    const Position at = series->push(Number::real(value_at(n)), Number::real(count_at(n)));
    tally->expect(at == n, "position ", at, ", not ", n);
  }
  pace->writer_is_done();
}

// Positions whose value is still to come.
class Waiting {
 public:
  void add(Position at) {
    const std::lock_guard<std::mutex> lock(mutex_);
    positions_.push_back(at);
  }
  void move_to(std::vector<Position>* out) {
    const std::lock_guard<std::mutex> lock(mutex_);
    out->insert(out->end(), positions_.begin(), positions_.end());
    positions_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<Position> positions_;
};

// A value that comes later tells the position it is for. All others are stamps, and not negative.
double landing_value(Position at) { return -1.0 - static_cast<double>(at); }
constexpr double kPendingCount = 77.0;

void write_pending(Series* series, std::uint64_t writer, Waiting* waiting, Pace* pace) {
  Stamp stamp{writer, 0};
  for (; pace->go_on(stamp.sequence); ++stamp.sequence) {
    if (stamp.sequence % 8 == 0) {
      waiting->add(series->push_pending(NumberKind::kFloat, Number::real(kPendingCount)));
    } else {
      series->push(Number::real(stamp.value()), Number::real(stamp.count()));
    }
  }
  pace->writer_is_done();
}

// Lands in any order, some only after laps.
void land_late(Series* series, Waiting* waiting, Pace* pace) {
  std::mt19937_64 random(1);
  std::vector<Position> mine;
  for (bool last = false; !last;) {
    last = !pace->anyone_writes();
    waiting->move_to(&mine);
    const std::size_t keep = last ? 0 : random() % 200;
    while (mine.size() > keep) {
      std::swap(mine[random() % mine.size()], mine.back());
      series->land(mine.back(), Number::real(landing_value(mine.back())));
      mine.pop_back();
    }
  }
}

void expect_landed(const Copied& copied, Position begin, Tally* tally) {
  for (std::size_t i = 0; i < copied.values.size(); ++i) {
    const double value = copied.values[i];
    const Position at = begin + i;
    if (value < 0.0) {
      tally->expect(value == landing_value(at) && copied.counts[i] == kPendingCount, "at ", at, " landed ",
                    value, ", count ", copied.counts[i]);
    } else {
      const std::optional<Stamp> stamp = Stamp::of_value(value);
      tally->expect(stamp && stamp->count() == copied.counts[i], "at ", at, " is ", value);
    }
  }
}

void read_landed(const Series& series, Pace* pace, Tally* tally) {
  std::mt19937_64 random(2);
  Copied copied;
  Number sum;
  while (pace->anyone_writes()) {
    const Position head = series.position();
    const Range range = series.window(random() % 6 + 1, head - std::min<Position>(head, random() % 1000));
    if (range.size() == 0) continue;
    if (series.sum(range, &sum) == Read::kOk) tally->expect(std::isfinite(sum.high), "sum ", sum.high);
    if (copied.read(series, range) != Read::kOk) continue;
    expect_landed(copied, range.begin, tally);
    pace->answered();
  }
}

}  // namespace

TEST_CASE("test_stamps_are_found_out_when_they_are_torn") {
  std::mt19937_64 random(40);
  Tally tally;
  for (int i = 0; i < 20'000; ++i) {
    const Stamp a{random() % kMaxWriters, random() % (1U << 24)};
    const Stamp b{random() % kMaxWriters, random() % (1U << 24)};
    const Number wide_a = Number::integer(a.wide());
    const Number wide_b = Number::integer(b.wide());
    const auto back = Stamp::of_value(a.value());
    const auto wide_back = Stamp::of_wide(wide_a.high, wide_a.low);
    tally.expect(back && back->writer == a.writer && back->sequence == a.sequence, "value");
    tally.expect(wide_back && wide_back->writer == a.writer && wide_back->sequence == a.sequence, "wide");
    tally.expect(!Stamp::of_value(a.value() + 1.0), "off by one");
    tally.expect(wide_a.low == wide_b.low || !Stamp::of_wide(wide_a.high, wide_b.low), "low of another");
  }
  tally.check();
}

TEST_CASE("test_nothing_is_lost_when_several_writers_fill_a_series_that_keeps_all") {
  for (const bool wide : {false, true}) {
    CAPTURE(wide);
    Series series(4 * 20 * kEffort * 60'000, wide ? NumberKind::kInt : NumberKind::kFloat,
                  NumberKind::kFloat);
    const auto pushed = let_loose(&series, {4, 2, 60'000, 40, 3000, wide, true});
    const std::uint64_t total = total_of(pushed);
    REQUIRE(series.position() == total);

    Copied copied;
    REQUIRE(copied.read(series, {0, total}) == Read::kOk);
    Tally tally;
    expect_stamps(copied, wide, &tally);  // each of them whole, in order, and so each of them once
    tally.check();

    FixedPointSum sum;  // of what was pushed, not of what was read
    double count = 0.0;
    for (std::size_t writer = 0; writer < pushed.size(); ++writer) {
      for (std::uint64_t i = 0; i < pushed[writer]; ++i) {
        const Number number = stamped({writer, i}, wide);
        sum.add(number.high);
        sum.add(number.low);
        count += Stamp{writer, i}.count();  // quarters: exact
      }
    }
    Number actual;
    double actual_count = 0.0;
    REQUIRE(series.sum({0, total}, &actual) == Read::kOk);
    REQUIRE(series.count({0, total}, &actual_count) == Read::kOk);
    CHECK(actual.high == sum.rounded());
    sum.subtract(actual.high);
    if (wide) CHECK(actual.low == sum.rounded());
    CHECK(actual_count == count);
  }
}

TEST_CASE("test_values_stay_whole_and_in_order_when_the_ring_is_lapped") {
  for (const std::uint64_t length : {1U, 100U, 1024U, 20'000U}) {
    for (const bool wide : {false, true}) {
      CAPTURE(length);
      CAPTURE(wide);
      Series series(length, wide ? NumberKind::kInt : NumberKind::kFloat, NumberKind::kFloat);
      const auto pushed = let_loose(&series, {3, 2, 60'000, 200, length + 900, wide, false});
      REQUIRE(series.position() == total_of(pushed));

      Copied copied;
      REQUIRE(copied.read(series, series.window(length, series.position())) == Read::kOk);
      Tally tally;
      expect_stamps(copied, wide, &tally);
      tally.check();
    }
  }
}

TEST_CASE("test_values_stay_whole_when_there_are_more_writers_than_cores") {
  Series series(1, NumberKind::kFloat, NumberKind::kFloat);
  const auto pushed = let_loose(&series, {12, 2, 100'000, 1000, 1000, false, false});
  CHECK(series.position() == total_of(pushed));
}

TEST_CASE("test_each_series_keeps_its_own_when_writers_share_many") {
  constexpr std::size_t kSeries = 24;
  constexpr std::size_t kWriters = 4;
  constexpr std::size_t kReaders = 2;
  std::vector<std::unique_ptr<Series>> all;
  for (std::size_t i = 0; i < kSeries; ++i) {
    all.push_back(std::make_unique<Series>(i % 3 == 0 ? 50 : 5000, NumberKind::kFloat, NumberKind::kFloat));
  }
  Pace pace(150'000, 400, kWriters);
  std::vector<std::vector<std::uint64_t>> pushed(kWriters, std::vector<std::uint64_t>(kSeries));
  {
    Tallies tallies(kWriters + kReaders);
    std::vector<std::function<void()>> jobs;
    for (std::size_t writer = 0; writer < kWriters; ++writer) {
      jobs.push_back([&, writer] {
        std::mt19937_64 random(writer);
        for (std::uint64_t n = 0; pace.go_on(n); ++n) {
          const std::size_t to = random() % kSeries;
          const Stamp stamp{writer, pushed[writer][to]++};
          all[to]->push(Number::real(stamp.value()), Number::real(stamp.count()));
        }
        pace.writer_is_done();
      });
    }
    for (std::size_t reader = kWriters; reader < kWriters + kReaders; ++reader) {
      jobs.push_back([&, reader] {
        std::mt19937_64 random(reader);
        Copied copied;
        while (pace.anyone_writes()) {
          const Series& series = *all[random() % kSeries];
          const Range range = series.window(random() % 500 + 1, series.position());
          if (range.size() == 0 || copied.read(series, range) != Read::kOk) continue;
          expect_stamps(copied, false, &tallies.each[reader]);
          pace.answered();
        }
      });
    }
    run_together(jobs);
  }
  pace.check();
  for (std::size_t i = 0; i < kSeries; ++i) {
    std::uint64_t total = 0;
    for (const auto& of_writer : pushed) total += of_writer[i];
    CHECK(all[i]->position() == total);
  }
}

TEST_CASE("test_statistics_are_exact_when_asked_while_the_ring_is_lapped") {
  for (const std::uint64_t length : {100U, 3000U, 40'000U, 1'000'000U}) {
    CAPTURE(length);
    Series series(length, NumberKind::kFloat, NumberKind::kFloat);
    Pace pace(200'000, 500, 1);
    Tallies tallies(4);
    std::vector<std::function<void()>> jobs{[&] { write_positions(&series, &pace, &tallies.each[0]); }};
    for (std::size_t reader = 1; reader < 4; ++reader) {
      jobs.push_back([&, reader] {
        std::mt19937_64 random(reader);
        while (pace.anyone_writes()) {
          const Position head = series.position();
          const Position at = head - std::min<Position>(head, random() % 900);  // as of a little earlier
          const Range range = series.window(random() % length + 1, at);
          if (range.size() != 0) expect_closed_forms(series, range, random(), &pace, &tallies.each[reader]);
        }
      });
    }
    run_together(jobs);
    pace.check();
  }
}

TEST_CASE("test_statistics_of_one_range_are_the_same_bits_when_several_readers_ask") {
  constexpr std::size_t kBlock = 3000;  // straddles leaves and chunks
  constexpr std::size_t kWriters = 2;
  constexpr std::size_t kReaders = 3;
  Series series(500'000, NumberKind::kFloat, NumberKind::kFloat);
  std::vector<std::atomic<std::uint64_t>> first_sums(2000);
  std::vector<std::atomic<std::uint64_t>> first_stds(2000);
  const auto is_first_or_same = [](std::atomic<std::uint64_t>* place, double value) {
    std::uint64_t seen = 0;
    const std::uint64_t bits = encode(value);
    return place->compare_exchange_strong(seen, bits) || seen == bits;
  };
  Pace pace(300'000, 2000, kWriters);
  {
    Tallies tallies(kWriters + kReaders);
    std::vector<std::function<void()>> jobs;
    for (std::size_t writer = 0; writer < kWriters; ++writer) {
      jobs.push_back([&, writer] {
        std::mt19937_64 random(writer);
        for (std::uint64_t n = 0; pace.go_on(n) && series.position() < first_sums.size() * kBlock; ++n) {
          series.push(Number::real(std::ldexp(static_cast<double>(random() >> 11), -60) - 0.001));
        }
        pace.writer_is_done();
      });
    }
    for (std::size_t reader = kWriters; reader < kWriters + kReaders; ++reader) {
      jobs.push_back([&, reader] {
        std::mt19937_64 random(reader);
        while (pace.anyone_writes()) {
          const std::size_t whole = series.position() / kBlock;
          if (whole == 0) continue;
          // Mostly the newest: several readers then summarise the same blocks for the first time.
          const std::size_t block = whole - 1 - std::min(whole - 1, random() % 3 == 0 ? random() % 150 : 0);
          const Range range{block * kBlock, (block + 1) * kBlock};
          Number sum;
          Number least;
          Number most;
          double mean = 0.0;
          double std = 0.0;
          if (series.sum(range, &sum) != Read::kOk || series.std(range, &std) != Read::kOk ||
              series.minimum(range, &least) != Read::kOk || series.maximum(range, &most) != Read::kOk ||
              series.mean(range, &mean) != Read::kOk) {
            continue;
          }
          Tally& tally = tallies.each[reader];
          tally.expect(is_first_or_same(&first_sums[block], sum.high), "sum of block ", block);
          tally.expect(is_first_or_same(&first_stds[block], std), "std of block ", block);
          tally.expect(least.high <= mean && mean <= most.high, "mean ", mean, " of block ", block);
          tally.expect(least.high >= -0.001 && most.high < 0.0079, "range of block ", block);
          pace.answered();
        }
      });
    }
    run_together(jobs);
  }
  pace.check();
}

TEST_CASE("test_pending_values_land_in_their_own_place_when_the_ring_is_lapped_meanwhile") {
  for (const std::uint64_t length : {1U, 5000U, 300'000U}) {
    CAPTURE(length);
    Series series(length, NumberKind::kFloat, NumberKind::kFloat);
    Pace pace(100'000, 300, 2);
    Waiting waiting;
    {
      Tallies tallies(1);
      run_together({[&] { write_pending(&series, 0, &waiting, &pace); },
                    [&] { write_pending(&series, 1, &waiting, &pace); },
                    [&] { land_late(&series, &waiting, &pace); },
                    [&] { read_landed(series, &pace, &tallies.each[0]); }});
    }
    pace.check();

    // All that was pending has landed; what is left in the ring shows it.
    Copied copied;
    const Range range = series.window(length, series.position());
    CHECK(copied.read(series, range) == Read::kOk);
    Tally tally;
    expect_landed(copied, range.begin, &tally);
    tally.check();
  }
}

TEST_CASE("test_kinds_only_grow_when_several_writers_push_different_ones") {
  constexpr int kRounds = 300;
  Tallies tallies(3);
  for (int round = 0; round < kRounds; ++round) {
    Series series(10, NumberKind::kBool, NumberKind::kBool);
    std::vector<std::function<void()>> jobs;
    for (const NumberKind kind : {NumberKind::kBool, NumberKind::kInt, NumberKind::kFloat}) {
      jobs.push_back([&series, &tallies, kind] {
        Tally& tally = tallies.each[static_cast<std::size_t>(kind)];
        NumberKind seen = NumberKind::kBool;
        for (int i = 0; i < 20; ++i) {
          series.push({1.0, 0.0, kind}, {1.0, 0.0, kind});
          const NumberKind now = series.kind();
          tally.expect(now >= kind && now >= seen && series.count_kind() >= kind, "a kind shrank");
          seen = now;
        }
      });
    }
    run_together(jobs);
    tallies.each[0].expect(series.kind() == NumberKind::kFloat && series.position() == 60, "the last kind");
  }
}

TEST_CASE("test_summary_cell_never_mixes_two_blocks_when_several_threads_store_and_load") {
  constexpr std::uint64_t kBlocks = 200'000;
  const auto of_block = [](std::uint64_t block) {
    const auto number = static_cast<double>(block);
    return Summary{number, -number, number * 3.0, number + 0.5, number * -7.0};
  };
  const auto is_of_block = [&](const Summary& summary, std::uint64_t block) {
    const Summary expected = of_block(block);
    return std::memcmp(&summary, &expected, sizeof summary) == 0;
  };
  SummaryCell cell;
  std::atomic<std::uint64_t> newest{0};
  Pace pace(kBlocks, 3000, 2);
  {
    Tallies tallies(4);
    std::vector<std::function<void()>> jobs;
    for (std::size_t writer = 0; writer < 2; ++writer) {
      jobs.push_back([&, writer] {
        std::mt19937_64 random(writer);
        for (std::uint64_t block = 0; pace.go_on(block); ++block) {
          const std::uint64_t stored = block - std::min<std::uint64_t>(block, random() % 4);
          cell.store(stored, of_block(stored));
          newest.store(block, std::memory_order_relaxed);
        }
        pace.writer_is_done();
      });
    }
    for (std::size_t reader = 2; reader < 4; ++reader) {
      jobs.push_back([&, reader] {
        std::mt19937_64 random(reader);
        Summary out{};
        while (pace.anyone_writes()) {
          const std::uint64_t block = newest.load(std::memory_order_relaxed) + random() % 4;
          if (!cell.load(block, &out)) continue;
          tallies.each[reader].expect(is_of_block(out, block), "block ", block, ": ", out.sum);
          pace.answered();
        }
      });
    }
    run_together(jobs);
  }
  pace.check();
}

TEST_CASE("test_nothing_is_lost_when_writers_run_out_of_memory_now_and_then") {
  Series series(4'000'000, NumberKind::kFloat, NumberKind::kFloat);
  std::atomic<std::uint64_t> refused{0};
  std::vector<std::uint64_t> pushed(3);
  std::vector<std::function<void()>> jobs;
  for (std::size_t writer = 0; writer < pushed.size(); ++writer) {
    jobs.push_back([&, writer] {
      std::mt19937_64 random(writer);
      for (Stamp stamp{writer, 0}; stamp.sequence < kEffort * 60'000;) {
        const MemoryRunsOut now(random() % 4);
        try {
          series.push(Number::real(stamp.value()), Number::real(stamp.count()));
          pushed[writer] = ++stamp.sequence;
        } catch (const std::bad_alloc&) {
          refused.fetch_add(1);
        }
      }
    });
  }
  run_together(jobs);
  CHECK(refused.load() > 10);
  REQUIRE(series.position() == total_of(pushed));
  Copied copied;
  REQUIRE(copied.read(series, {0, series.position()}) == Read::kOk);
  Tally tally;
  expect_stamps(copied, false, &tally);
  tally.check();
}

TEST_CASE("test_push_waits_for_memory_when_it_runs_out_after_the_position_was_taken") {
  constexpr std::uint64_t kRounds = 1000;
  Series series(2 * kRounds * 1024, NumberKind::kFloat, NumberKind::kInt);
  Meeting meeting;
  std::atomic<std::uint64_t> pushed{0};
  const auto write = [&](bool fills_the_chunk) {
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      for (int i = 0; fills_the_chunk && i < 1023; ++i) {
        series.push(Number::real(1.0));
        pushed.fetch_add(1);
      }
      meeting.meet();
      // One gets the last place of the chunk; the other may have taken its position before it finds out
      // that it needs a new chunk and cannot have one yet.
      try {
        const MemoryRunsOut now(3);
        series.push(Number::real(1.0));
        pushed.fetch_add(1);
      } catch (const std::bad_alloc&) {
      }
      meeting.meet();
      for (; fills_the_chunk && series.position() % 1024 != 0; pushed.fetch_add(1))
        series.push(Number::real(1.0));
    }
  };
  run_together({[&] { write(true); }, [&] { write(false); }});
  REQUIRE(series.position() == pushed.load());
}

TEST_CASE("test_memory_stays_bounded_when_two_writers_reach_new_chunks_together") {
  constexpr std::ptrdiff_t kNewChunks = 2000;
  const std::ptrdiff_t before = live_chunks();
  {
    Series series(1, NumberKind::kFloat, NumberKind::kInt);
    Meeting meeting;
    const auto write = [&](bool fills_the_chunk) {
      for (std::ptrdiff_t round = 0; round < kNewChunks; ++round) {
        meeting.meet();
        series.push(Number::real(1.0));  // both at once, and both into a chunk that is not there yet
        for (int i = 0; fills_the_chunk && i < 1022; ++i) series.push(Number::real(1.0));
      }
    };
    run_together({[&] { write(true); }, [&] { write(false); }});
    CHECK(series.position() == kNewChunks * 1024);
    // Three chunks hold the ring. A few more may have been set aside for a writer that slept through a lap.
    CHECK(live_chunks() - before < 100);
  }
  CHECK(live_chunks() == before);
}
