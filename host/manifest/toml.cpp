// SPDX-License-Identifier: Apache-2.0
#include "manifest/toml.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string_view>

// The parser (3.3) asserts things that malformed input makes false ("[[["), and assumes them in release builds: both are
// answers to a hostile file that we do not want. An error is.
[[noreturn]] static void refuse() { throw std::runtime_error("not TOML: unexpected character"); }
#undef NDEBUG
#define TOML_ASSERT(condition) ((condition) ? void() : refuse())
#include <toml++/toml.h>

namespace
{

char *copy(std::string_view text)
{
	char *out = static_cast<char *>(std::malloc(text.size() + 1));

	if (!out)
		std::abort();
	std::memcpy(out, text.data(), text.size());
	out[text.size()] = 0;
	return out;
}

toml_value *make_children(toml_value *parent, size_t count)
{
	parent->count = count;
	parent->children = static_cast<toml_value *>(std::calloc(count ? count : 1, sizeof(toml_value)));
	if (!parent->children)
		std::abort();
	return parent->children;
}

// A string with a NUL inside is no string for us: what comes of it would be cut short.
void convert_string(const std::string &text, toml_value *out)
{
	out->type = text.find('\0') == std::string::npos ? TOML_STRING : TOML_OTHER;
	out->string = copy(text);
}

void convert(const toml::node &node, toml_value *out)
{
	out->line = node.source().begin.line;
	if (const auto *table = node.as_table()) {
		toml_value *child = make_children(out, table->size());
		out->type = TOML_TABLE;
		for (const auto &[key, value] : *table) {
			child->key = copy(key.str());
			convert(value, child++);
		}
	} else if (const auto *array = node.as_array()) {
		toml_value *child = make_children(out, array->size());
		out->type = TOML_ARRAY;
		for (const auto &value : *array)
			convert(value, child++);
	} else if (const auto *text = node.as_string()) {
		convert_string(text->get(), out);
	} else if (const auto *number = node.as_integer()) {
		out->type = TOML_INTEGER;
		out->integer = number->get();
	} else if (const auto *truth = node.as_boolean()) {
		out->type = TOML_BOOLEAN;
		out->boolean = truth->get();
	} else {
		out->type = TOML_OTHER;
	}
}

void release(toml_value *value)
{
	for (size_t i = 0; i < value->count; i++)
		release(&value->children[i]);
	std::free(value->children);
	std::free(value->key);
	std::free(value->string);
}

} // namespace

extern "C" toml_value *toml_parse(const char *text, size_t size, char *message, size_t message_size)
{
	auto *root = static_cast<toml_value *>(std::calloc(1, sizeof(toml_value)));

	if (!root)
		std::abort();
	try {
		convert(toml::parse(std::string_view(text, size)), root);
		return root;
	} catch (const toml::parse_error &error) {
		std::snprintf(message, message_size, "line %u: %s", static_cast<unsigned>(error.source().begin.line),
			      error.what());
	} catch (const std::exception &error) {
		std::snprintf(message, message_size, "%s", error.what());
	}
	toml_free(root);
	return nullptr;
}

extern "C" void toml_free(toml_value *root)
{
	if (!root)
		return;
	release(root);
	std::free(root);
}

extern "C" const toml_value *toml_get(const toml_value *table, const char *key)
{
	for (size_t i = 0; table && table->type == TOML_TABLE && i < table->count; i++)
		if (!std::strcmp(table->children[i].key, key))
			return &table->children[i];
	return nullptr;
}

extern "C" const char *toml_type_name(toml_type type)
{
	static const char *const names[] = { "a table",    "an array",  "a string",
					     "an integer", "a boolean", "of a type no key has" };

	return names[type];
}
