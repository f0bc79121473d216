-- Every order is written anew twice, when it is linked and when it is paid: with room for that in its page, no index is
-- written with it. Holds for pages from now on; what is there stays as it is.
ALTER TABLE orders SET (fillfactor = 50);
