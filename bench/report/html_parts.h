// Tables and other parts of the HTML report. Every argument is plain text and is escaped here; results are HTML.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench/report/figure.h"
#include "bench/report/view.h"

namespace crossover::report {

std::string paragraph(const std::string& text, const char* kind = "");
std::string details(const std::string& summary, const std::string& html);  // "" for no content
std::string table(const std::vector<std::string>& head, const std::string& rows,
                  int numbers_from = 1000);  // columns from there on are numbers
std::string cell(const std::string& text);
std::string number_cell(const std::string& text);
std::string number_cell(const std::optional<double>& value, const std::string& shown);  // <data value="0.9075">0.9075 s</data>
std::string shown(const Fact& fact);  // its value, large ones of bytes and rates as "24.6 GB"
std::string facts(const char* title, const std::vector<Fact>& list);
std::string word(const std::string& verdict);  // coloured, and the word itself

std::string figure(const Figure& figure);  // with its caption and the numbers behind it

std::string arms_table(const ResultView& result);
std::string cells_table(const ResultView& result);  // a row for each cell; "" for one cell
std::string matrix(const ResultView& result);       // of a sweep over two settings; "" for others
std::string metric_tables(const ResultView& result, const CellView& cell);
std::string gates_table(const CellView& cell);
std::string knob_tables(const ResultView& result);
std::string flagged_samples(const ResultView& result);
std::string gpu_phases(const ResultView& result);  // a table for each traced sample; "" for none
std::string reproduce(const ResultView& result);

std::string document(const std::string& title, const std::string& body);  // head, style, content policy

}  // namespace crossover::report
