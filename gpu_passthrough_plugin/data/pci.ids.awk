# Trims a whole pci.ids to the one beside this file: every vendor and class,
# and the devices of the vendors that servers and their guests are made of.
#
#   awk -f pci.ids.awk /usr/share/misc/pci.ids > pci.ids

BEGIN {
    split("1000 1002 1022 1028 102b 103c 1077 1093 10b5 10de 10df 10ec " \
          "1106 11f8 1234 126f 12d8 1344 1414 144d 14e4 15ad 15b3 15b7 " \
          "177d 17cb 1912 19a2 19e5 1a03 1af4 1b21 1b36 1b4b 1bcf 1c5c " \
          "1cc1 1d0f 1d17 1d22 1da3 1db7 1dd8 1e0f 1e36 1ed5 8086 9005",
          list, " ")
    for (at in list)
        wanted[list[at]] = 1
    print "# Vendors, classes and some devices out of the PCI ID Repository,"
    print "# https://pci-ids.ucw.cz/, maintained by Albert Pool, Martin Mares"
    print "# and other volunteers.  Trimmed by pci.ids.awk; LICENSE.pci.ids"
    print "# has the terms."
}
/^#\t(Version|Date):/ { print }
/^#/ || /^\t\t/ || /^$/ { next }
/^[0-9a-f]/ { keep = ($1 in wanted) }
/^C / { keep = 1 }
/^[^\t]/ || keep { print }
