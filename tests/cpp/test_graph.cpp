#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "device/device.h"
#include "fake_cuda.h"
#include "tally.h"

using namespace ringmeter;
using namespace std::chrono_literals;
using namespace ringmeter::tests;

namespace {

DriverApi& driver() {
  static DriverApi api = load_driver();
  return api;
}

void land(void* owner, std::uint64_t, const Number& number) {
  static_cast<std::vector<double>*>(owner)->push_back(number.high);
}

// A device on which scalars are captured, and what landed from each.
struct Subject {
  explicit Subject(unsigned log2_graph_slots) : device(driver(), 0, {4, log2_graph_slots, 3, 0}) {}

  // Captures the scalars in one launch, and ends the capture.
  FakeGraph* capture(const std::vector<DeviceScalar>& scalars) {
    fake_begin_capture(stream, 0);
    CHECK(device.is_capturing(stream));
    std::vector<std::uint32_t> nodes;
    for (const DeviceScalar& scalar : scalars) {
      landed.push_back(std::make_unique<std::vector<double>>());
      nodes.push_back(device.add_node(scalar.type, {land, landed.back().get(), 0}));
    }
    device.capture(scalars.data(), nodes.data(), scalars.size(), stream);
    FakeGraph* graph = nullptr;
    CHECK(fake_end_capture(stream, &graph) == kSuccess);
    CHECK_FALSE(device.is_capturing(stream));
    return graph;
  }
  void take() {
    drain();
    while (device.release([](void*) {})) {
    }
  }
  void drain() {
    while (device.drain()) {
    }
  }

  Device device;
  DriverStream stream = fake_stream(0);
  std::vector<std::unique_ptr<std::vector<double>>> landed;
};

template <class T>
DeviceScalar scalar_of(const T& value, ElementType type) {
  return {reinterpret_cast<std::uintptr_t>(&value), type};
}

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("test_each_replay_lands_one_value_of_each_captured_scalar") {
  fake_reset();
  Subject subject(6);
  double loss = 0.0;
  std::int32_t hits = 0;
  FakeGraph* graph =
      subject.capture({scalar_of(loss, ElementType::kFloat64), scalar_of(hits, ElementType::kInt32)});
  subject.drain();
  CHECK(subject.landed[0]->empty());  // captured, not run
  std::vector<double> losses;
  for (int i = 0; i < 200; ++i) {
    const double value = 0.5 * i;
    fake_write(subject.stream, &loss, &value, sizeof value);
    fake_write(subject.stream, &hits, &i, sizeof i);
    losses.push_back(value);
    fake_replay(graph, subject.stream);
    if (i % 20 == 0) {
      fake_sync(subject.stream);
      subject.drain();
    }
  }
  fake_sync(subject.stream);
  subject.drain();
  CHECK(*subject.landed[0] == losses);
  CHECK(subject.landed[1]->back() == 199.0);
  CHECK(subject.device.lost(0) == 0);
  const ReplayTotals totals = subject.device.totals(0);
  CHECK(totals.count == 200);
  CHECK(totals.sum == 0.5 * 199 * 100);
  CHECK(totals.minimum == 0.0);
  CHECK(totals.maximum == 99.5);
  CHECK(totals.last.high == 99.5);
  CHECK(totals.nans == 0);
}

TEST_CASE("test_an_overrun_is_counted_exactly_and_totals_know_of_it") {
  fake_reset();
  Subject subject(4);
  double value = 1.0;
  FakeGraph* graph = subject.capture({scalar_of(value, ElementType::kFloat64)});
  Tally tally;
  double next = 1.0;
  std::uint64_t replayed = 0;
  for (const int replays : {40, 5, 16, 17, 33, 1, 300}) {
    for (int i = 0; i < replays; ++i, next += 1.0) {
      fake_write(subject.stream, &value, &next, sizeof next);
      fake_replay(graph, subject.stream);
    }
    replayed += static_cast<std::uint64_t>(replays);
    fake_sync(subject.stream);
    const std::size_t before = subject.landed[0]->size();
    const std::uint64_t lost = subject.device.lost(0);
    subject.drain();
    // The newest 16 are still there.
    const auto kept = static_cast<std::size_t>(std::min(replays, 16));
    tally.expect(subject.landed[0]->size() == before + kept, "of ", replays, ": ",
                 subject.landed[0]->size() - before);
    tally.expect(subject.device.lost(0) - lost == static_cast<std::uint64_t>(replays) - kept, "lost of ",
                 replays);
    tally.expect(subject.landed[0]->back() == next - 1.0, "newest of ", replays);
  }
  tally.check();
  const ReplayTotals totals = subject.device.totals(0);
  CHECK(totals.count == replayed);
  CHECK(totals.sum == static_cast<double>(replayed) * (static_cast<double>(replayed) + 1) / 2);
  CHECK(subject.landed[0]->size() + subject.device.lost(0) == replayed);
}

TEST_CASE("test_totals_leave_nans_out_and_count_them") {
  fake_reset();
  Subject subject(6);
  float value = 0.0F;
  FakeGraph* graph = subject.capture({scalar_of(value, ElementType::kFloat32)});
  CHECK(subject.device.totals(0).count == 0);
  for (const double each : {kNone, 3.0, kNone, -2.0}) {
    const auto next = static_cast<float>(each);
    fake_write(subject.stream, &value, &next, sizeof next);
    fake_replay(graph, subject.stream);
  }
  fake_sync(subject.stream);
  const ReplayTotals totals = subject.device.totals(0);
  CHECK(totals.count == 4);
  CHECK(totals.nans == 2);
  CHECK(totals.sum == 1.0);
  CHECK(totals.minimum == -2.0);
  CHECK(totals.maximum == 3.0);
}

TEST_CASE("test_a_mark_lands_between_the_replays_before_it_and_those_behind") {
  fake_reset();
  Subject subject(8);
  double value = 0.0;
  FakeGraph* graph = subject.capture({scalar_of(value, ElementType::kFloat64)});
  std::vector<std::size_t> seen;  // replays landed, at each mark
  struct Owner {
    std::vector<double>* landed;
    std::vector<std::size_t>* seen;
  } owner{subject.landed[0].get(), &seen};
  const auto note = [](void* to, std::uint64_t, const Number&) {
    static_cast<Owner*>(to)->seen->push_back(static_cast<Owner*>(to)->landed->size());
  };
  fake_delay(subject.stream, 50);
  for (int mark = 0; mark < 12; ++mark) {
    for (int i = 0; i < mark; ++i) fake_replay(graph, subject.stream);
    const DeviceScalar scalar = subject.device.replay_mark();
    std::uint64_t first = 0;
    while (!subject.device.launch(&scalar, 1, subject.stream, &first)) subject.take();
    subject.device.commit(first, {note, &owner, 0});
  }
  fake_replay(graph, subject.stream);
  fake_sync(subject.stream);
  subject.take();
  std::vector<std::size_t> expected;
  for (std::size_t mark = 0; mark < 12; ++mark) expected.push_back(mark * (mark + 1) / 2);
  CHECK(seen == expected);
  CHECK(subject.landed[0]->size() == 67);
}

TEST_CASE("test_two_graphs_on_two_streams_lose_nothing") {
  fake_reset();
  Subject subject(10);
  double first = 1.0;
  double second = 2.0;
  FakeGraph* one = subject.capture({scalar_of(first, ElementType::kFloat64)});
  FakeGraph* two = subject.capture({scalar_of(second, ElementType::kFloat64)});
  const DriverStream other = fake_stream(0);
  std::atomic<bool> is_done{false};
  std::thread drainer([&] {
    while (!is_done) subject.device.drain();
  });
  for (int i = 0; i < 400; ++i) {
    fake_replay(one, subject.stream);
    fake_replay(two, other);
  }
  fake_sync(subject.stream);
  fake_sync(other);
  is_done = true;
  drainer.join();
  subject.drain();
  CHECK(subject.landed[0]->size() == 400);
  CHECK(subject.landed[1]->size() == 400);
  CHECK(subject.device.lost(0) + subject.device.lost(1) == 0);
}

TEST_CASE("test_nothing_that_could_break_a_capture_is_called_while_somebody_captures") {
  fake_reset();
  Subject subject(6);
  const DriverStream user = fake_stream(0);
  fake_begin_capture(user, 0);  // global: any thread's unsafe call would invalidate it
  const Device made_meanwhile(driver(), 1, {4, 4, 3, 0});
  subject.device.check();
  const DeviceScalar clock{0, ElementType::kUInt64};
  std::uint64_t first = 0;
  std::thread([&] { CHECK(subject.device.launch(&clock, 1, subject.stream, &first)); }).join();
  subject.device.commit(first, Receiver{});
  while (subject.device.drained() != subject.device.enqueued()) subject.device.drain();
  FakeGraph* graph = nullptr;
  CHECK(fake_end_capture(user, &graph) == kSuccess);
}

TEST_CASE("test_captures_that_cannot_take_a_value_are_refused") {
  fake_reset();
  Subject subject(6);
  fake_begin_capture(subject.stream, 0);
  CHECK_THROWS_WITH_AS(subject.device.is_capturing(nullptr),
                       "the default stream cannot be used while another stream captures a graph "
                       "(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT)",
                       DriverError);
  CHECK(subject.device.is_capturing(subject.stream));
  void* memory = nullptr;
  CHECK(driver().cuMemHostAlloc(&memory, 8, 0) != kSuccess);  // by the user, not relaxed
  CHECK_THROWS_WITH_AS(subject.device.is_capturing(subject.stream),
                       "the capture of the stream has been invalidated", DriverError);
  FakeGraph* graph = nullptr;
  CHECK(fake_end_capture(subject.stream, &graph) != kSuccess);
}

TEST_CASE("test_nodes_that_no_memory_is_left_for_are_refused") {
  fake_reset();
  Subject subject(6);
  std::vector<double> landed;
  for (int i = 0; i < 8; ++i) subject.device.add_node(ElementType::kFloat32, {land, &landed, 0});
  CHECK_THROWS_WITH_AS(subject.device.add_node(ElementType::kFloat32, {land, &landed, 0}),
                       "at most 8 scalars of a device can be captured in CUDA graphs", DriverError);
}
