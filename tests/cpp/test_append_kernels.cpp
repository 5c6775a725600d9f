#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "device/append_kernels.h"
#include "device/append_ptx.h"
#include "device/driver_api.h"
#include "device/landing_slot.h"
#include "fake_cuda.h"
#include "tally.h"

using namespace ringmeter;
using ringmeter::tests::fake_begin_capture;
using ringmeter::tests::fake_calls;
using ringmeter::tests::fake_end_capture;
using ringmeter::tests::fake_fail;
using ringmeter::tests::fake_nodes;
using ringmeter::tests::fake_replay;
using ringmeter::tests::fake_reset;
using ringmeter::tests::fake_shutdown;
using ringmeter::tests::fake_stream;
using ringmeter::tests::fake_sync;
using ringmeter::tests::fake_write;
using ringmeter::tests::FakeGraph;
using ringmeter::tests::Tally;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::uint64_t address_of(const void* memory) { return reinterpret_cast<std::uintptr_t>(memory); }

// The functions of the kernels, with the context of device 0 current.
class Kernels {
 public:
  Kernels() : api(load_driver()) {
    fake_reset();
    DriverModule module = nullptr;
    api.check(api.cuDevicePrimaryCtxRetain(&context_, 0), "cuDevicePrimaryCtxRetain");
    api.check(api.cuCtxPushCurrent_v2(context_), "cuCtxPushCurrent");
    api.check(api.cuModuleLoadData(&module, kAppendPtx), "cuModuleLoadData");
    api.check(api.cuModuleGetFunction(&one_, module, kAppendOne), "cuModuleGetFunction");
    api.check(api.cuModuleGetFunction(&many_, module, kAppendMany), "cuModuleGetFunction");
    api.check(api.cuModuleGetFunction(&graph_, module, kAppendGraph), "cuModuleGetFunction");
    stream = fake_stream(0);
  }
  ~Kernels() {
    fake_reset();
    api.cuCtxPopCurrent_v2(&context_);
  }
  Kernels(const Kernels&) = delete;
  Kernels& operator=(const Kernels&) = delete;

  DriverResult launch(const AppendEntry& entry, DriverStream on) const {
    AppendEntry copy = entry;
    return launch(one_, 1, &copy, on);
  }
  DriverResult launch(const AppendEntries& entries, unsigned n, DriverStream on) const {
    AppendEntries copy = entries;
    return launch(many_, n, &copy, on);
  }
  DriverResult launch(const GraphEntries& entries, unsigned n, DriverStream on) const {
    GraphEntries copy = entries;
    return launch(graph_, n, &copy, on);
  }

  const DriverApi api;
  DriverStream stream;

 private:
  DriverResult launch(DriverFunction function, unsigned threads, void* parameter, DriverStream on) const {
    void* parameters[] = {parameter};
    return api.cuLaunchKernel(function, 1, 1, 1, threads, 1, 1, 0, on, parameters, nullptr);
  }

  DriverContext context_ = nullptr;
  DriverFunction one_ = nullptr;
  DriverFunction many_ = nullptr;
  DriverFunction graph_ = nullptr;
};

// Where the entries of nodes go.
struct Ring {
  explicit Ring(unsigned log2) : log2_capacity(log2), slots(std::size_t{1} << log2) {}

  unsigned log2_capacity;
  std::vector<GraphSlot> slots;
  alignas(8) std::uint64_t counter = 0;
};

struct Node {
  NodeTotals totals{};
  TotalsSlot shown;

  GraphEntry entry(const void* source, std::uint32_t bytes, ElementType type, std::uint32_t number,
                   Ring* ring) {
    return {address_of(source),
            address_of(ring->slots.data()),
            address_of(&ring->counter),
            address_of(&totals),
            address_of(&shown),
            bytes,
            static_cast<std::uint32_t>(type),
            number,
            ring->log2_capacity};
  }
};

// What a node shows.
struct Shown {
  double sum;
  double minimum;
  double maximum;
  std::uint64_t last;
  std::uint64_t nans;
  std::uint64_t count;
};

Shown read_shown(const TotalsSlot& slot) {
  std::array<std::uint32_t, 12> words{};
  REQUIRE(slot.read(slot.tag(), &words));
  const auto wide = [&words](std::size_t i) { return words[i] | std::uint64_t{words[i + 1]} << 32; };
  CHECK(words[11] == 0);
  return {kernels::double_of(wide(0)),
          kernels::double_of(wide(2)),
          kernels::double_of(wide(4)),
          wide(6),
          wide(8),
          std::uint64_t{words[10]} << 32 | slot.tag()};
}

void check_decodes(std::uint64_t bits, ElementType type, Tally* tally) {
  const double expected = decode_element(type, &bits).high;  // little-endian
  const double decoded = kernels::decode_scalar(bits, type);
  const bool is_same = kernels::bits_of(decoded) == kernels::bits_of(expected);
  tally->expect(is_same || (std::isnan(decoded) && std::isnan(expected)), "type ", static_cast<int>(type),
                ", bits ", bits, ": ", decoded, ", not ", expected);
}

// On a thread of its own, with the context of device 0.
void on_other_thread(const Kernels& kernels, const std::function<void()>& job) {
  std::thread([&] {
    DriverContext context = nullptr;
    kernels.api.cuDevicePrimaryCtxRetain(&context, 0);
    kernels.api.cuCtxPushCurrent_v2(context);
    job();
    kernels.api.cuCtxPopCurrent_v2(&context);
  }).join();
}

int capture_status(const Kernels& kernels, DriverStream stream) {
  int status = -1;
  CHECK(kernels.api.cuStreamIsCapturing(stream, &status) == kSuccess);
  return status;
}

}  // namespace

TEST_CASE("test_kernels_decode_as_the_core_does") {
  Tally tally;
  for (int i = 0; i <= static_cast<int>(ElementType::kFloat8E8M0FNU); ++i) {
    const auto type = static_cast<ElementType>(i);
    const std::uint32_t bytes = element_size(type);
    if (bytes <= 2) {
      for (std::uint64_t bits = 0; bits < std::uint64_t{1} << 8 * bytes; ++bits) {
        check_decodes(bits, type, &tally);
      }
      continue;
    }
    const std::uint64_t mask = ~std::uint64_t{0} >> (64 - 8 * bytes);
    std::mt19937_64 random(7);
    for (int n = 0; n < 20000; ++n) check_decodes(random() & mask, type, &tally);
    // Around each power of two, which is each exponent and each rounding of an integer.
    for (unsigned shift = 0; shift < 8 * bytes; ++shift) {
      for (std::uint64_t near = 0; near < 5; ++near) {
        check_decodes(((std::uint64_t{1} << shift) + near - 2) & mask, type, &tally);
        check_decodes((~(std::uint64_t{1} << shift) + near - 2) & mask, type, &tally);
      }
    }
    // Zeros, infinities, NaNs, the largest and the smallest of both signs.
    const unsigned mantissa_bits = bytes == 4 ? 23 : 52;
    const std::uint64_t sign = std::uint64_t{1} << (8 * bytes - 1);
    const std::uint64_t infinity = mask >> 1 >> mantissa_bits << mantissa_bits;
    const std::uint64_t smallest = std::uint64_t{1} << mantissa_bits;  // of the normal ones
    for (const std::uint64_t edge : {std::uint64_t{0}, infinity, smallest}) {
      for (std::uint64_t near = 0; near < 5; ++near) {
        check_decodes((edge + near - 2) & mask, type, &tally);
        check_decodes(((edge + near - 2) & mask) ^ sign, type, &tally);
      }
    }
  }
  tally.check();
}

TEST_CASE("test_totals_of_a_node_are_of_its_numbers") {
  Kernels kernels;
  Ring ring(3);
  Node node;
  double value = 0.0;
  const GraphEntries entries{{node.entry(&value, 8, ElementType::kFloat64, 5, &ring)}};
  struct Step {
    double value, sum, minimum, maximum;
    std::uint64_t nans;
  };
  const std::vector<Step> steps{{kNan, 0.0, 0.0, 0.0, 1},   {-kNan, 0.0, 0.0, 0.0, 2},
                                {2.5, 2.5, 2.5, 2.5, 2},    {kNan, 2.5, 2.5, 2.5, 3},
                                {4.0, 6.5, 2.5, 4.0, 3},    {-1.0, 5.5, -1.0, 4.0, 3},
                                {0.25, 5.75, -1.0, 4.0, 3}, {kInfinity, kInfinity, -1.0, kInfinity, 3}};
  for (std::size_t i = 0; i < steps.size(); ++i) {
    CAPTURE(i);
    fake_write(kernels.stream, &value, &steps[i].value, sizeof value);
    REQUIRE(kernels.launch(entries, 1, kernels.stream) == kSuccess);
    fake_sync(kernels.stream);
    const Shown shown = read_shown(node.shown);
    CHECK(shown.count == i + 1);
    CHECK(shown.nans == steps[i].nans);
    CHECK(shown.sum == steps[i].sum);
    CHECK(shown.minimum == steps[i].minimum);
    CHECK(shown.maximum == steps[i].maximum);
    CHECK(shown.last == kernels::bits_of(steps[i].value));
  }
}

TEST_CASE("test_totals_count_beyond_32_bits") {
  Kernels kernels;
  Ring ring(1);
  Node node;
  node.totals = {(std::uint64_t{7} << 32) - 2, (std::uint64_t{5} << 32) - 1, 10.0, 1.0, 2.0};
  const float value = std::numeric_limits<float>::quiet_NaN();
  const GraphEntries entries{{node.entry(&value, 4, ElementType::kFloat32, 0, &ring)}};
  for (std::uint64_t i = 0; i < 4; ++i) {
    REQUIRE(kernels.launch(entries, 1, kernels.stream) == kSuccess);
    fake_sync(kernels.stream);
    const Shown shown = read_shown(node.shown);
    CHECK(shown.count == (std::uint64_t{7} << 32) - 1 + i);
    CHECK(shown.nans == (std::uint64_t{5} << 32) + i);
    CHECK(shown.minimum == 1.0);
  }
}

TEST_CASE("test_entries_of_a_node_have_the_tag_of_their_lap") {
  Kernels kernels;
  for (const std::uint64_t first : {std::uint64_t{0}, (std::uint64_t{1} << 34) - 8}) {  // tags begin again
    Ring ring(2);
    ring.counter = first;
    Node node;
    std::int64_t value = 0;
    const GraphEntries entries{{node.entry(&value, 8, ElementType::kInt64, 0xFFFFFFFE, &ring)}};
    for (std::uint64_t i = 0; i < 20; ++i) {
      CAPTURE(i);
      const auto written = static_cast<std::int64_t>(i << 32 | i);
      fake_write(kernels.stream, &value, &written, sizeof value);
      REQUIRE(kernels.launch(entries, 1, kernels.stream) == kSuccess);
      fake_sync(kernels.stream);
      const std::uint64_t number = first + i;
      std::array<std::uint32_t, 4> words{};
      REQUIRE(ring.slots[number % 4].read(landing_tag(number, 2), &words));
      CHECK(words == std::array<std::uint32_t, 4>{static_cast<std::uint32_t>(i),
                                                  static_cast<std::uint32_t>(i), 0xFFFFFFFE,
                                                  static_cast<std::uint32_t>(i + 1)});
      // That of the lap before is untouched elsewhere.
      if (i >= 3) CHECK(ring.slots[(number - 3) % 4].tag() == landing_tag(number - 3, 2));
    }
    CHECK(ring.counter == first + 20);
  }
}

TEST_CASE("test_one_launch_appends_for_many_nodes_of_any_type") {
  Kernels kernels;
  Ring ring(6);
  std::vector<Node> nodes(kMostEntries);
  const std::array<std::int8_t, 2> bytes{-7, 3};
  const std::array<std::uint16_t, 2> halves{0x3E00, 0xBE00};  // 1.5, -1.5
  const std::array<float, 2> floats{1.0F / 3.0F, -2.0F};
  const std::array<std::uint64_t, 2> wide{std::numeric_limits<std::uint64_t>::max(), 1};
  GraphEntries entries{};
  for (std::uint32_t i = 0; i < kMostEntries; ++i) {
    const std::size_t which = i / 4 % 2;
    const std::array<GraphEntry, 4> of_each{
        nodes[i].entry(&bytes[which], 1, ElementType::kInt8, i, &ring),
        nodes[i].entry(&halves[which], 2, ElementType::kFloat16, i, &ring),
        nodes[i].entry(&floats[which], 4, ElementType::kFloat32, i, &ring),
        nodes[i].entry(&wide[which], 8, ElementType::kUInt64, i, &ring)};
    entries.entry[i] = of_each[i % 4];
  }
  REQUIRE(kernels.launch(entries, kMostEntries, kernels.stream) == kSuccess);
  REQUIRE(kernels.launch(entries, 5, kernels.stream) == kSuccess);
  fake_sync(kernels.stream);
  const std::array<double, 8> expected{-7.0, 1.5, static_cast<double>(1.0F / 3.0F), 0x1p64, 3.0, -1.5,
                                       -2.0, 1.0};
  for (std::uint32_t i = 0; i < kMostEntries; ++i) {
    CAPTURE(i);
    const Shown shown = read_shown(nodes[i].shown);
    CHECK(shown.count == (i < 5 ? 2 : 1));
    CHECK(shown.sum == expected[i % 8] * static_cast<double>(shown.count));
    CHECK(shown.minimum == expected[i % 8]);
    CHECK(shown.maximum == expected[i % 8]);
  }
  // Each entry once: all of the first launch before those of the second, else in any order.
  CHECK(ring.counter == kMostEntries + 5);
  std::vector<std::uint32_t> seen;
  for (std::uint64_t number = 0; number < ring.counter; ++number) {
    std::array<std::uint32_t, 4> words{};
    REQUIRE(ring.slots[number].read(1, &words));
    CHECK(words[3] == (number < kMostEntries ? 1 : 2));
    seen.push_back(words[2]);
  }
  std::sort(seen.begin(), seen.begin() + kMostEntries);
  std::sort(seen.begin() + kMostEntries, seen.end());
  for (std::uint32_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == i % kMostEntries);
}

TEST_CASE("test_nodes_of_several_streams_share_a_ring") {
  Kernels kernels;
  constexpr std::uint32_t kStreams = 3;
  constexpr std::uint32_t kRuns = 300;
  Ring ring(10);
  std::vector<Node> nodes(kStreams);
  std::array<std::uint64_t, kStreams> values{};
  std::array<DriverStream, kStreams> streams{};
  for (DriverStream& stream : streams) stream = fake_stream(0);
  for (std::uint64_t run = 0; run < kRuns; ++run) {
    for (std::uint32_t i = 0; i < kStreams; ++i) {
      fake_write(streams[i], &values[i], &run, sizeof run);
      GraphEntries entries{};
      entries.entry[0] = nodes[i].entry(&values[i], 8, ElementType::kUInt64, i, &ring);
      REQUIRE(kernels.launch(entries, 1, streams[i]) == kSuccess);
    }
  }
  for (const DriverStream stream : streams) fake_sync(stream);
  CHECK(ring.counter == kStreams * kRuns);
  std::array<std::uint32_t, kStreams> next{};
  Tally tally;
  for (std::uint64_t number = 0; number < ring.counter; ++number) {
    std::array<std::uint32_t, 4> words{};
    tally.expect(ring.slots[number].read(1, &words), "entry ", number);
    const std::uint32_t run = next[words[2]]++;
    tally.expect(words[0] == run && words[3] == run + 1, "run ", run, " of ", words[2], ": ", words[0]);
  }
  tally.check();
}

TEST_CASE("test_captured_launches_run_at_each_replay_with_the_parameters_of_the_capture") {
  Kernels kernels;
  Ring ring(4);
  Node node;
  float value = 0.0F;
  float written = 2.0F;
  GraphEntries entries{{node.entry(&value, 4, ElementType::kFloat32, 3, &ring)}};
  DriverContext context = nullptr;
  FakeGraph* graph = nullptr;
  REQUIRE(fake_begin_capture(kernels.stream, kCaptureModeGlobal) == kSuccess);
  CHECK(capture_status(kernels, kernels.stream) == kCapturing);
  CHECK(capture_status(kernels, fake_stream(0)) == kNotCapturing);
  fake_write(kernels.stream, &value, &written, sizeof value);
  CHECK(kernels.launch(entries, 1, kernels.stream) == kSuccess);
  CHECK(kernels.api.cuCtxGetCurrent(&context) == kSuccess);  // allowed meanwhile
  on_other_thread(kernels, [&] { CHECK(kernels.launch(entries, 1, kernels.stream) == kSuccess); });
  written = 9.0F;
  entries = {};
  fake_sync(kernels.stream);
  CHECK(ring.counter == 0);
  REQUIRE(fake_end_capture(kernels.stream, &graph) == kSuccess);
  CHECK(capture_status(kernels, kernels.stream) == kNotCapturing);
  CHECK(fake_nodes(graph) == 3);
  const std::array<DriverStream, 2> streams{kernels.stream, fake_stream(0)};
  for (std::size_t i = 0; i < 20; ++i) CHECK(fake_replay(graph, streams[i % 2]) == kSuccess);
  for (const DriverStream stream : streams) fake_sync(stream);
  CHECK(ring.counter == 40);
  const Shown shown = read_shown(node.shown);
  CHECK(shown.count == 40);
  CHECK(shown.sum == 80.0);
  FakeGraph* none = nullptr;
  CHECK(fake_end_capture(kernels.stream, &none) == 401);
  // A graph within a graph.
  FakeGraph* outer = nullptr;
  REQUIRE(fake_begin_capture(kernels.stream, kCaptureModeRelaxed) == kSuccess);
  CHECK(fake_replay(graph, kernels.stream) == kSuccess);
  REQUIRE(fake_end_capture(kernels.stream, &outer) == kSuccess);
  CHECK(fake_replay(outer, kernels.stream) == kSuccess);
  fake_sync(kernels.stream);
  CHECK(ring.counter == 42);
}

TEST_CASE("test_memory_of_the_device_comes_dirty_and_is_set_in_stream_order") {
  Kernels kernels;
  DevicePointer memory = 0;
  REQUIRE(kernels.api.cuMemAlloc_v2(&memory, 8) == kSuccess);
  std::uint64_t bits = 0;
  const auto* word = reinterpret_cast<const std::uint64_t*>(memory);
  CHECK(*word != 0);
  LandingSlot slot;
  const AppendEntry entry{memory, address_of(&slot), 8, 1};
  REQUIRE(kernels.api.cuMemsetD8Async(memory, 0x11, 8, kernels.stream) == kSuccess);
  REQUIRE(kernels.launch(entry, kernels.stream) == kSuccess);
  REQUIRE(kernels.api.cuMemsetD8Async(memory, 0, 8, kernels.stream) == kSuccess);
  fake_sync(kernels.stream);
  REQUIRE(slot.read(1, &bits));
  CHECK(bits == 0x1111111111111111);
  CHECK(*word == 0);
  CHECK(kernels.api.cuMemAlloc_v2(&memory, 0) == 1);
  CHECK(kernels.api.cuMemsetD8Async(memory, 0, 8, fake_stream(1)) == 400);
  fake_fail("cuMemAlloc_v2", 1, 2);
  fake_fail("cuMemsetD8Async", 1, 719);
  CHECK(kernels.api.cuMemAlloc_v2(&memory, 8) == 2);
  CHECK(kernels.api.cuMemsetD8Async(memory, 0, 8, kernels.stream) == 719);
  CHECK(fake_calls("cuMemAlloc_v2") == 3);
  CHECK(fake_calls("cuMemsetD8Async") == 4);
}

TEST_CASE("test_calls_that_might_wait_invalidate_a_capture") {
  Kernels kernels;
  const DriverApi& api = kernels.api;
  const DriverStream other = fake_stream(0);
  void* memory = nullptr;
  DevicePointer pointer = 0;
  DriverModule module = nullptr;
  DriverModule loaded = nullptr;
  DriverFunction function = nullptr;
  DriverStream made = nullptr;
  REQUIRE(api.cuModuleLoadData(&loaded, kAppendPtx) == kSuccess);
  const std::vector<std::function<DriverResult()>> calls{
      [&] { return api.cuMemHostAlloc(&memory, 64, 0); },
      [&] { return api.cuMemAlloc_v2(&pointer, 64); },
      [&] { return api.cuModuleLoadData(&module, kAppendPtx); },
      [&] { return api.cuModuleGetFunction(&function, loaded, kAppendOne); },
      [&] { return api.cuStreamCreate(&made, kStreamNonBlocking); },
      [&] { return api.cuStreamQuery(other); },
  };
  LandingSlot slot;
  const AppendEntry entry{0, address_of(&slot), 0, 1};
  FakeGraph* graph = nullptr;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    for (const int mode : {kCaptureModeGlobal, kCaptureModeThreadLocal, kCaptureModeRelaxed}) {
      for (const int own_mode : {kCaptureModeGlobal, kCaptureModeThreadLocal, kCaptureModeRelaxed}) {
        for (const bool is_other_thread : {false, true}) {
          CAPTURE(i);
          CAPTURE(mode);
          CAPTURE(own_mode);
          CAPTURE(is_other_thread);
          const bool is_refused =
              own_mode != kCaptureModeRelaxed &&
              (is_other_thread ? mode == kCaptureModeGlobal && own_mode == kCaptureModeGlobal
                               : mode != kCaptureModeRelaxed);
          REQUIRE(fake_begin_capture(kernels.stream, mode) == kSuccess);
          const auto call = [&] {
            int exchanged = own_mode;
            CHECK(api.cuThreadExchangeStreamCaptureMode(&exchanged) == kSuccess);
            CHECK(exchanged == kCaptureModeGlobal);
            CHECK(calls[i]() == (is_refused ? kCaptureUnsupported : kSuccess));
            CHECK(api.cuThreadExchangeStreamCaptureMode(&exchanged) == kSuccess);
          };
          if (is_other_thread) {
            on_other_thread(kernels, call);
          } else {
            call();
          }
          CHECK(capture_status(kernels, kernels.stream) ==
                (is_refused ? kCaptureStatusInvalidated : kCapturing));
          CHECK(kernels.launch(entry, kernels.stream) == (is_refused ? kCaptureInvalidated : kSuccess));
          CHECK(fake_end_capture(kernels.stream, &graph) == (is_refused ? kCaptureInvalidated : kSuccess));
          CHECK((graph == nullptr) == is_refused);
        }
      }
    }
  }
}

TEST_CASE("test_nobody_may_query_the_stream_that_captures") {
  Kernels kernels;
  FakeGraph* graph = nullptr;
  REQUIRE(fake_begin_capture(kernels.stream, kCaptureModeRelaxed) == kSuccess);
  CHECK(fake_begin_capture(kernels.stream, kCaptureModeRelaxed) == 401);
  int mode = kCaptureModeRelaxed;
  CHECK(kernels.api.cuThreadExchangeStreamCaptureMode(&mode) == kSuccess);
  CHECK(kernels.api.cuStreamQuery(fake_stream(0)) == kSuccess);
  CHECK(kernels.api.cuStreamQuery(kernels.stream) == kCaptureUnsupported);
  CHECK(kernels.api.cuThreadExchangeStreamCaptureMode(&mode) == kSuccess);
  CHECK(fake_end_capture(kernels.stream, &graph) == kCaptureInvalidated);
}

TEST_CASE("test_a_capture_ends_on_its_thread") {
  Kernels kernels;
  FakeGraph* graph = nullptr;
  REQUIRE(fake_begin_capture(kernels.stream, kCaptureModeThreadLocal) == kSuccess);
  on_other_thread(kernels, [&] { CHECK(fake_end_capture(kernels.stream, &graph) == 908); });
  CHECK(fake_end_capture(kernels.stream, &graph) == kSuccess);
}

TEST_CASE("test_the_default_stream_is_refused_while_one_that_it_waits_for_captures") {
  Kernels kernels;
  LandingSlot slot;
  const AppendEntry entry{0, address_of(&slot), 0, 1};
  FakeGraph* graph = nullptr;
  int status = -1;
  CHECK(fake_begin_capture(nullptr, kCaptureModeRelaxed) == kCaptureUnsupported);
  REQUIRE(fake_begin_capture(kernels.stream, kCaptureModeRelaxed) == kSuccess);
  CHECK(kernels.api.cuStreamIsCapturing(nullptr, &status) == kCaptureImplicit);
  CHECK(capture_status(kernels, kernels.stream) == kCapturing);
  const DriverStream other = fake_stream(0);
  CHECK(kernels.launch(entry, other) == kSuccess);
  fake_sync(other);
  CHECK(kernels.launch(entry, nullptr) == kCaptureImplicit);
  CHECK(capture_status(kernels, kernels.stream) == kCaptureStatusInvalidated);
  CHECK(fake_end_capture(kernels.stream, &graph) == kCaptureInvalidated);
  CHECK(kernels.launch(entry, nullptr) == kSuccess);

  // One that is not blocking, or of another device.
  for (const DriverStream stream : {fake_stream(0, false), fake_stream(1)}) {
    REQUIRE(fake_begin_capture(stream, kCaptureModeRelaxed) == kSuccess);
    CHECK(capture_status(kernels, nullptr) == kNotCapturing);
    CHECK(kernels.launch(entry, nullptr) == kSuccess);
    CHECK(fake_end_capture(stream, &graph) == kSuccess);
  }
  fake_sync(nullptr);
}

TEST_CASE("test_every_function_fails_once_the_driver_is_gone") {
  Kernels kernels;
  const DriverApi& api = kernels.api;
  fake_shutdown(true);
  LandingSlot slot;
  int number = 0;
  void* memory = nullptr;
  DevicePointer pointer = 0;
  DriverContext context = nullptr;
  DriverModule module = nullptr;
  DriverFunction function = nullptr;
  DriverStream stream = nullptr;
  const char* name = nullptr;
  CHECK(api.cuInit(0) == kDeinitialised);
  CHECK(api.cuDriverGetVersion(&number) == kDeinitialised);
  CHECK(api.cuDeviceGet(&number, 0) == kDeinitialised);
  CHECK(api.cuDevicePrimaryCtxRetain(&context, 0) == kDeinitialised);
  CHECK(api.cuCtxGetCurrent(&context) == kDeinitialised);
  CHECK(api.cuCtxPushCurrent_v2(context) == kDeinitialised);
  CHECK(api.cuCtxPopCurrent_v2(&context) == kDeinitialised);
  CHECK(api.cuMemHostAlloc(&memory, 64, 0) == kDeinitialised);
  CHECK(api.cuMemHostGetDevicePointer_v2(&pointer, memory, 0) == kDeinitialised);
  CHECK(api.cuMemAlloc_v2(&pointer, 64) == kDeinitialised);
  CHECK(api.cuMemsetD8Async(pointer, 0, 64, kernels.stream) == kDeinitialised);
  CHECK(api.cuModuleLoadData(&module, kAppendPtx) == kDeinitialised);
  CHECK(api.cuModuleGetFunction(&function, module, kAppendOne) == kDeinitialised);
  CHECK(kernels.launch(AppendEntry{0, address_of(&slot), 0, 1}, kernels.stream) == kDeinitialised);
  CHECK(api.cuStreamCreate(&stream, 0) == kDeinitialised);
  CHECK(api.cuStreamQuery(kernels.stream) == kDeinitialised);
  CHECK(api.cuStreamIsCapturing(kernels.stream, &number) == kDeinitialised);
  CHECK(api.cuThreadExchangeStreamCaptureMode(&number) == kDeinitialised);
  CHECK(api.cuGetErrorName(4, &name) == kDeinitialised);
  CHECK_THROWS_WITH_AS(api.check(kDeinitialised, "cuInit"), "cuInit: unknown error (4)", DriverError);
  fake_shutdown(false);
  CHECK(kernels.launch(AppendEntries{{{0, address_of(&slot), 0, 1}}}, 1, kernels.stream) == kSuccess);
  fake_sync(kernels.stream);
  CHECK(slot.tag() == 1);
}
