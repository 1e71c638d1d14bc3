"""Recordings: what people have, read as pairs.

words         the words that mark visible, thermal, label and test data in names
layouts       finds pairs in folders, videos and bags
pair_list     a list of pairs (.csv)
sources       where one pair lies, and what a search gives
reading       sources -> pairs
extraction    the pairs worth keeping -> image files
images        image files
video         video files
bags          bags and their messages
bag_files     the files of a bag: split, compressed, without metadata
mcap_file     one mcap file with an index
recovery      mcap files that were cut off
bag_pairs     the pairs of a bag
missing_images  stamps of one camera -> images that never arrived
time_pairing  which images belong together in time
encodings     names of image encodings -> how pixels lie in a message
to_colour     the converter of colours for images of bags
inspection    what a bag's cameras really send
picture_headers  what the header of a picture says
pixels        decoded pixels of any type -> visible and thermal images
decode        image messages -> arrays, for bags and for the node
"""
