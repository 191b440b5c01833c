#include "bench/report/floors.h"

#include <fmt/format.h>

#include "bench/report/words.h"

namespace crossover::report {
namespace {

using Value = std::optional<double> FloorView::*;

std::string giga(const std::optional<double>& value, const char* unit) { return value ? fmt::format("{:.3g} G{}", *value / 1e9, unit) : number(value); }

std::string amount_at_rate(const FloorView& view, Value amount, Value rate, Value floor, const char* unit) {
  if (!(view.*floor)) return number(view.*floor);
  return fmt::format("{}: {} at {}", seconds(view.*floor), giga(view.*amount, unit), giga(view.*rate, (std::string(unit) + "/s").c_str()));
}

class Lines {
 public:
  explicit Lines(const CellView& cell) : cell_(cell) {}

  // One line where either arm has the value.
  template <class Show>
  void add(const std::string& what, Value value, const Show& show, bool derived = false) {
    const auto has = [&](const std::optional<FloorView>& view) { return view && ((*view).*value).has_value(); };
    if (!has(cell_.floors_a) && !has(cell_.floors_b)) return;
    const auto text = [&](const std::optional<FloorView>& view) { return has(view) ? show(*view) : number(std::optional<double>()); };
    lines_.push_back({what, text(cell_.floors_a), text(cell_.floors_b), derived});
  }
  void add_seconds(const std::string& what, Value value, bool derived = false) {
    add(what, value, [value](const FloorView& view) { return seconds(view.*value); }, derived);
  }
  std::vector<FloorLine> take() { return std::move(lines_); }

 private:
  const CellView& cell_;
  std::vector<FloorLine> lines_;
};

}  // namespace

std::vector<FloorLine> floor_lines(const CellView& cell) {
  Lines lines(cell);
  lines.add_seconds("load, median", &FloorView::total_s);
  lines.add("floor: reading", &FloorView::read_floor_s, [](const FloorView& view) {
    return amount_at_rate(view, &FloorView::bytes_read, &FloorView::read_bytes_per_s, &FloorView::read_floor_s, "B");
  });
  lines.add("floor: quantizing", &FloorView::quantize_floor_s, [](const FloorView& view) {
    return amount_at_rate(view, &FloorView::quantized_values, &FloorView::quantize_values_per_s, &FloorView::quantize_floor_s, "weights");
  });
  lines.add("load / larger floor", &FloorView::ratio, [](const FloorView& view) { return fmt::format("{:.2f}", *view.ratio); });
  lines.add_seconds("packing", &FloorView::pack_s);
  lines.add_seconds("first touch of memory", &FloorView::first_touch_s);
  lines.add("load without these two / larger floor", &FloorView::rest_ratio, [](const FloorView& view) { return fmt::format("{:.2f}", *view.rest_ratio); });
  lines.add("workers busy", &FloorView::busy_share, [](const FloorView& view) { return fmt::format("{:.1f} %", 100 * *view.busy_share); });
  lines.add("peak memory", &FloorView::peak_memory_bytes, [](const FloorView& view) { return giga(view.peak_memory_bytes, "B"); });
  lines.add("held: weights, state, read buffers", &FloorView::held_bytes, [](const FloorView& view) { return giga(view.held_bytes, "B"); });
  const FloorView* whole = cell.floors_a && !cell.floors_a->whole.empty() ? &*cell.floors_a : cell.floors_b ? &*cell.floors_b : nullptr;
  if (!whole || whole->whole.empty()) return lines.take();
  lines.add_seconds("derived for " + whole->whole + ": load", &FloorView::whole_total_s, true);
  lines.add_seconds("derived: floor of reading", &FloorView::whole_read_floor_s, true);
  lines.add_seconds("derived: floor of quantizing", &FloorView::whole_quantize_floor_s, true);
  return lines.take();
}

}  // namespace crossover::report
