#include "bindings/rank_table_type.h"

#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/rank_table.h"

namespace py = pybind11;

namespace ringmeter::bindings {

namespace {

constexpr std::size_t kMuch = 1 << 18;  // bytes: 10 us or so

// Holds the bytes that the table is of.
struct HeldTable {
  HeldTable(const py::buffer& received, std::size_t ranks)
      : bytes(received.request()), table(read(bytes, ranks)) {}

  static RankTable read(const py::buffer_info& bytes, std::size_t ranks) {
    const auto size = static_cast<std::size_t>(bytes.size);
    if (bytes.itemsize != 1 || bytes.ndim != 1 || bytes.strides[0] != 1) {
      throw py::type_error("received must be contiguous bytes");
    }
    if (ranks == 0 || size % ranks != 0)
      throw py::value_error("received must be as many bytes for each rank");
    return {static_cast<const char*>(bytes.ptr), ranks, size / ranks};
  }

  py::buffer_info bytes;
  RankTable table;
};

py::object find_other(const HeldTable& held, std::int64_t mode, std::int64_t iteration) {
  const std::size_t rank = held.table.find_other(mode, iteration);
  if (rank == held.table.ranks()) return py::none();
  const RankHeader header = held.table.header(rank);
  return py::make_tuple(rank, header.mode, header.iteration);
}

py::list schemas(const HeldTable& held) {
  py::list schemas;
  for (const auto& [schema, names] : held.table.schemas()) {
    schemas.append(py::make_tuple(schema, py::bytes(names.data(), names.size())));
  }
  return schemas;
}

// Rows that have values, and a schema that is none of these.
std::vector<std::size_t> ranks_without(const HeldTable& held, const py::set& schemas) {
  std::vector<std::size_t> ranks;
  for (std::size_t rank = 0; rank < held.table.ranks(); ++rank) {
    const RankHeader header = held.table.header(rank);
    if (header.items != RankHeader::kNothing && !schemas.contains(header.schema)) ranks.push_back(rank);
  }
  return ranks;
}

// A sum of numbers of entries.
std::int64_t whole(double number) {
  if (!(number >= 0.0 && number < 9.2e18)) throw std::runtime_error("what a rank sent is garbled");
  return static_cast<std::int64_t>(number);
}

py::list reduce(const HeldTable& held, const Columns& columns, const std::vector<std::uint8_t>& numbers) {
  std::vector<How> hows;
  for (const std::uint8_t number : numbers) {
    if (number >= kHows) throw py::value_error("hows must be less than 5");
    hows.push_back(static_cast<How>(number));
  }
  std::vector<ReducedItem> items;
  if (held.bytes.size < static_cast<py::ssize_t>(kMuch)) {
    items = held.table.reduce(columns, hows);
  } else {
    const py::gil_scoped_release release;
    items = held.table.reduce(columns, hows);
  }
  py::list reduced;
  for (const ReducedItem& item : items) {
    reduced.append(
        py::make_tuple(item.value, whole(item.nans), whole(item.entries), item.most, item.slowest));
  }
  return reduced;
}

}  // namespace

void add_rank_table(py::module_& module) {
  const py::handle metaclass(reinterpret_cast<PyObject*>(&PyType_Type));  // as other classes have
  py::class_<HeldTable>(module, "RankTable", py::is_final(), py::metaclass(metaclass))
      .def(py::init<const py::buffer&, std::size_t>(), py::arg("received"), py::arg("ranks"))
      .def_property_readonly("size", [](const HeldTable& held) { return held.table.largest_size(); })
      .def_property_readonly("items", [](const HeldTable& held) { return held.table.most_items(); })
      .def("find_other", find_other, py::arg("mode"), py::arg("iteration"))
      .def("schemas", schemas)
      .def("ranks_without", ranks_without, py::arg("schemas"))
      .def("reduce", reduce, py::arg("columns"), py::arg("hows"));
}

}  // namespace ringmeter::bindings
