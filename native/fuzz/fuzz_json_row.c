#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json_row.h"

#define REQUIRE(condition) \
    do { \
        if (!(condition)) \
            abort(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The address sanitizer sees reads behind data, which has exactly size bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_row_marks marks;
    if (json_row_check(data, size, &marks) != 0) {
        REQUIRE(json_row_check(data, size, NULL) != 0);
        return 0;
    }
    REQUIRE(json_row_check(data, size, NULL) == 0);
    REQUIRE(marks.node == NULL ? marks.node_len == 0
                               : marks.node > data && marks.node_len < (size_t)(data + size - marks.node));
    for (size_t i = 0; i < size; i++)
        REQUIRE(data[i] >= 0x20);
    while (data[size - 1] == ' ')
        size--;
    REQUIRE(data[size - 1] == '}');
    REQUIRE(json_row_check(data, size, NULL) == 0);
    REQUIRE(json_row_check(data, size - 1, NULL) != 0);
    return 0;
}
